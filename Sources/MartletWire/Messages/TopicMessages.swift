package import MartletFormat

/// A setting to give to a topic; null takes the topic's own value away again.
package struct TopicSettingChange: WireItem {
    package static let bytesMin = 4
    package var key = ""
    package var value: String?

    package init() {}

    package init(_ key: String, _ value: String?) {
        self.key = key
        self.value = value
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("key", &key, max: WireLimits.settingKeyBytesMax, "such as `retention.time`")
        try c.optionalString(
            "value", &value, max: WireLimits.settingValueBytesMax, "null: the default again")
    }
}

package struct CreateTopicRequest: WireRequest {
    package typealias Reply = CreateTopicReply
    package static let operation = Operation.createTopic
    package static let purpose = "Makes a topic."

    package var name = ""
    package var partitions: Int32 = -1
    package var settings: [TopicSettingChange] = []
    package var validateOnly = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "a to z A to Z 0 to 9 . _ -")
        try c.int32("partitions", &partitions, "count; -1: the broker's default")
        try c.array("settings", &settings, max: WireLimits.settingsMax, "where not the default")
        try c.bool("validateOnly", &validateOnly, "check, but make nothing")
    }
}

package struct CreateTopicReply: WireReply {
    package static let operation = Operation.createTopic
    package static let purpose = "The topic was made, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var id = TopicID.zero
    package var partitions: Int32 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id; zero when only validated")
        try c.int32("partitions", &partitions, "count")
    }
}

package struct DeleteTopicRequest: WireRequest {
    package typealias Reply = DeleteTopicReply
    package static let operation = Operation.deleteTopic
    package static let purpose = "Deletes a topic and its records."

    package var id = TopicID.zero

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
    }
}

package struct DeleteTopicReply: WireReply {
    package static let operation = Operation.deleteTopic
    package static let purpose = "The topic is gone; its id is never given again."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct ListTopicsRequest: WireRequest {
    package typealias Reply = ListTopicsReply
    package static let operation = Operation.listTopics
    package static let purpose = "Asks for all topics."

    package var includeInternal = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.bool("includeInternal", &includeInternal, "also those whose name begins with $")
    }
}

package struct TopicSummary: WireItem {
    package static let bytesMin = 33
    package var id = TopicID.zero
    package var name = ""
    package var partitions: Int32 = 0
    package var durability: UInt8 = 0
    package var isInternal = false
    package var online = false
    package var bytes: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "empty when unread")
        try c.int32("partitions", &partitions, "count")
        try c.uint8("durability", &durability, "1 durable, 2 written")
        try c.bool("isInternal", &isInternal, "the broker's own")
        try c.bool("online", &online, "can be read and written")
        try c.int64("bytes", &bytes, "of its logs")
    }
}

package struct ListTopicsReply: WireReply {
    package static let operation = Operation.listTopics
    package static let purpose = "All topics, by name."

    package var error = ErrorCode.none
    package var message = ""
    package var topics: [TopicSummary] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("topics", &topics, max: WireLimits.topicsMax, "by name")
    }
}

package struct AlterTopicRequest: WireRequest {
    package typealias Reply = AlterTopicReply
    package static let operation = Operation.alterTopic
    package static let purpose = "Changes settings of a topic, all or none."

    package var id = TopicID.zero
    package var changes: [TopicSettingChange] = []
    package var validateOnly = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
        try c.array("changes", &changes, max: WireLimits.settingsMax, "settings to change")
        try c.bool("validateOnly", &validateOnly, "check, but change nothing")
    }
}

package struct SettingDifference: WireItem {
    package static let bytesMin = 7
    package var key = ""
    package var before: String?
    package var after: String?
    package var source: UInt8 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("key", &key, max: WireLimits.settingKeyBytesMax, "setting")
        try c.optionalString(
            "before", &before, max: WireLimits.settingValueBytesMax, "value in force before")
        try c.optionalString(
            "after", &after, max: WireLimits.settingValueBytesMax, "value in force now")
        try c.uint8("source", &source, "of `after`: 0 default, 1 broker, 2 topic")
    }
}

package struct AlterTopicReply: WireReply {
    package static let operation = Operation.alterTopic
    package static let purpose = "What changed, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var settings: [SettingDifference] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("settings", &settings, max: WireLimits.settingsMax, "in the request's order")
    }
}

package struct AddPartitionsRequest: WireRequest {
    package typealias Reply = AddPartitionsReply
    package static let operation = Operation.addPartitions
    package static let purpose = "Raises a topic's number of partitions."

    package var id = TopicID.zero
    package var total: Int32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
        try c.int32("total", &total, "count afterwards; never less than now")
    }
}

package struct AddPartitionsReply: WireReply {
    package static let operation = Operation.addPartitions
    package static let purpose = "The partitions are there, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var partitions: Int32 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int32("partitions", &partitions, "count now")
    }
}
