package import MartletFormat

package struct FailRecordRequest: WireRequest {
    package typealias Reply = FailRecordReply
    package static let operation = Operation.failRecord
    package static let purpose =
        "Says that the handler of a stream group failed with a record; the group's policy decides."

    package var group = ""
    package var member = TopicID.zero
    package var owned = OwnedPartition()
    package var offset: Int64 = 0
    package var severity: UInt8 = 0
    package var failure = ""
    package var text = ""
    package var hasKey = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.item("owned", &owned)
        try c.int64("offset", &offset, "of the record")
        try c.uint8(
            "severity", &severity,
            "0: may succeed another time; 1: failed for ever; 2: set it aside")
        try c.string(
            "failure", &failure, max: WireLimits.failureKindBytesMax, "the kind of failure")
        try c.string("text", &text, max: WireLimits.failureTextBytesMax, "its words")
        try c.bool("hasKey", &hasKey, "the record has a key, with which it may be parked")
    }
}

package struct FailRecordReply: WireReply {
    package static let operation = Operation.failRecord
    package static let purpose = "What to do with the record; it is counted, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var answer: UInt8 = 0
    package var milliseconds: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8(
            "answer", &answer,
            "0: handle it again; 1: go on behind it; 2: the group stands still there; 3: it is "
                + "parked: go on, but it is not done; 4: and nor are later ones of its key")
        try c.int64("milliseconds", &milliseconds, "answer 0: after so long; else 0")
    }
}
