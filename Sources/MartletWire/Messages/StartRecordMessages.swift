package import MartletFormat

package struct StartRecordRequest: WireRequest {
    package typealias Reply = StartRecordReply
    package static let operation = Operation.startRecord
    package static let purpose =
        "Says that a handler of a stream group is about to begin with a suspect record."

    package var group = ""
    package var member = TopicID.zero
    package var owned = OwnedPartition()
    package var offset: Int64 = 0
    package var number: UInt64 = 0
    package var isAlone = false
    package var hasKey = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.item("owned", &owned)
        try c.int64("offset", &offset, "of the record")
        try c.uint64(
            "number", &number,
            "of this start alone: asked for again, it is not counted again; 0: none")
        try c.bool("isAlone", &isAlone, "no other suspect record is with a handler of the member")
        try c.bool("hasKey", &hasKey, "the record has a key, with which it may be parked")
    }
}

package struct StartRecordReply: WireReply {
    package static let operation = Operation.startRecord
    package static let purpose = "Whether the handler may begin; the start is counted, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var answer: UInt8 = 0
    package var milliseconds: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8(
            "answer", &answer,
            "0: begin; 1: go on behind it; 2: the group stands still there; 3: ask again later; "
                + "4: ask again when it is alone; 5: it is parked: go on, but it is not done; 6: and "
                + "nor are later ones of its key")
        try c.int64("milliseconds", &milliseconds, "answer 3: after so long; else 0")
    }
}
