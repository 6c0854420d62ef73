package import MartletFormat

/// A topic name in an array.
package struct TopicNameItem: WireItem {
    package static let bytesMin = 2
    package var name = ""

    package init() {}

    package init(_ name: String) {
        self.name = name
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "topic name")
    }
}

/// A topic id in an array.
package struct TopicIDItem: WireItem {
    package static let bytesMin = 16
    package var id = TopicID.zero

    package init() {}

    package init(_ id: TopicID) {
        self.id = id
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
    }
}

package struct MetadataRequest: WireRequest {
    package typealias Reply = MetadataReply
    package static let operation = Operation.metadata
    package static let purpose = "Resolves topic names to ids, and ids to names."

    package var names: [TopicNameItem] = []
    package var ids: [TopicIDItem] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("names", &names, max: WireLimits.namesMax, "topics by name")
        try c.array("ids", &ids, max: WireLimits.namesMax, "topics by id")
    }
}

package struct TopicMetadata: WireItem {
    package static let bytesMin = 32
    package var error = ErrorCode.none
    package var message = ""
    package var id = TopicID.zero
    package var name = ""
    package var partitions: Int32 = 0
    package var durability: UInt8 = 0
    package var batchBytesMax: UInt32 = 0
    package var compacted = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
        try c.identifier("id", &id, "topic id; zero with UNKNOWN_TOPIC")
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "topic name")
        try c.count(
            "partitions", &partitions, max: Int32(WireLimits.partitionsPerTopicMax), "count")
        try c.uint8("durability", &durability, "1 durable, 2 written")
        try c.uint32("batchBytesMax", &batchBytesMax, "largest batch the topic takes")
        try c.bool("compacted", &compacted, "older records of a key may be gone")
    }
}

package struct MetadataReply: WireReply {
    package static let operation = Operation.metadata
    package static let purpose = "One entry per name asked, then one per id, in that order."

    package var error = ErrorCode.none
    package var message = ""
    package var topics: [TopicMetadata] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("topics", &topics, max: 2 * WireLimits.namesMax, "in the request's order")
    }
}
