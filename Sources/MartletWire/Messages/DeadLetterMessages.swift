package import MartletFormat

/// What becomes of records whose handlers fail.
package struct FailurePolicyItem: WireItem {
    package static let bytesMin = 47
    package var attemptsMax: UInt16 = 0
    package var backoffMilliseconds: Int64 = 0
    package var backoffFactorPercent: Int32 = 0
    package var backoffMaxMilliseconds: Int64 = 0
    package var jitterPercent: Int32 = 0
    package var last: UInt8 = 0
    package var breakerPercent: Int32 = 0
    package var breakerWindow: Int32 = 100
    package var breakerOpenMilliseconds: Int64 = 30_000
    package var breakerProbes: Int32 = 10

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint16("attemptsMax", &attemptsMax, "handlers that begin, in all; 0: no limit")
        try c.int64("backoffMilliseconds", &backoffMilliseconds, "until the second attempt")
        try c.int32("backoffFactorPercent", &backoffFactorPercent, "each pause to the one before")
        try c.int64("backoffMaxMilliseconds", &backoffMaxMilliseconds, "no pause is longer")
        try c.int32("jitterPercent", &jitterPercent, "a pause is shortened by up to so much")
        try c.uint8(
            "last", &last,
            "0: it becomes a dead letter; 1: the group stands still there; 2: it is parked; 3: with "
                + "its key")
        try c.int32(
            "breakerPercent", &breakerPercent,
            "so many of a hundred outcomes failed: the breaker opens; 0: there is none")
        try c.int32("breakerWindow", &breakerWindow, "of so many outcomes, at least")
        try c.int64("breakerOpenMilliseconds", &breakerOpenMilliseconds, "how long it stays open")
        try c.int32("breakerProbes", &breakerProbes, "so many records are tried then")
    }
}

/// Part of bytes that may be longer than one field.
package struct BytesPiece: WireItem {
    package static let bytesMin = 2
    package static let bytesMax = 65_000
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.bytes("bytes", &bytes, max: Self.bytesMax, "the next of them")
    }

    /// The same bytes in pieces.
    package static func pieces(_ bytes: [UInt8]) -> [BytesPiece] {
        stride(from: 0, to: bytes.count, by: bytesMax).map { start in
            var piece = BytesPiece()
            piece.bytes = Array(bytes[start..<min(start + bytesMax, bytes.count)])
            return piece
        }
    }
}

/// The dead letters of a group, counted.
package struct DeadLetterCounts: WireItem {
    package static let bytesMin = 32
    package var dead: Int64 = 0
    package var replaying: Int64 = 0
    package var notStored: Int64 = 0
    package var oldestAt: Int64 = -1

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("dead", &dead, "neither handled nor resolved, and not with the group")
        try c.int64("replaying", &replaying, "with the group again")
        try c.int64("notStored", &notStored, "entries that the topic does not have yet")
        try c.int64(
            "oldestAt", &oldestAt,
            "when the oldest of the dead died, milliseconds since 1970 UTC; -1: there is none")
    }
}

package struct SetFailurePolicyRequest: WireRequest {
    package typealias Reply = SetFailurePolicyReply
    package static let operation = Operation.setFailurePolicy
    package static let purpose = "Sets what becomes of records whose handlers fail."

    package var group = ""
    package var policy = FailurePolicyItem()

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.item("policy", &policy)
    }
}

package struct SetFailurePolicyReply: WireReply {
    package static let operation = Operation.setFailurePolicy
    package static let purpose = "It holds for failures from now on, durably."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct ListDeadLettersRequest: WireRequest {
    package typealias Reply = ListDeadLettersReply
    package static let operation = Operation.listDeadLetters
    package static let purpose =
        "Lists the dead letters of a group that are neither handled nor resolved, a page at a time."

    package var group = ""
    package var after: UInt64 = 0
    package var max: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.uint64("after", &after, "the last number of the page before; 0: from the first")
        try c.uint32("max", &max, "lines at most; 0: as many as the broker gives")
    }
}

package struct DeadLetterLine: WireItem {
    package static let bytesMin = 75
    package var number: UInt64 = 0
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var lane: UInt8 = 0
    package var offset: Int64 = 0
    package var reason: UInt8 = 0
    package var attempts: UInt32 = 0
    package var deaths: UInt16 = 0
    package var replays: UInt16 = 0
    package var diedAt: Int64 = 0
    package var state: UInt8 = 0
    package var place: Int64 = -1
    package var lastPlace: Int64 = -1
    package var remarks: UInt16 = 0
    package var assignee = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint64("number", &number, "names it in its group, for ever")
        try c.identifier("topic", &topic, "topic id of the record that died")
        try c.int32("partition", &partition, "its partition")
        try c.lane(&lane)
        try c.int64("offset", &offset, "its offset")
        try c.uint8("reason", &reason, WireLimits.reasons)
        try c.uint32("attempts", &attempts, "handlers that began with it, in all")
        try c.uint16("deaths", &deaths, "how often it died")
        try c.uint16("replays", &replays, "how often it was sent to the group again")
        try c.int64("diedAt", &diedAt, "milliseconds since 1970 UTC")
        try c.uint8("state", &state, "0: dead; 1: with the group again")
        try c.int64(
            "place", &place,
            "offset in `<group>.dlq` of its newest entry with a record; -1: not there yet")
        try c.int64("lastPlace", &lastPlace, "the same of its last entry of any kind")
        try c.uint16("remarks", &remarks, "how often it was assigned or commented")
        try c.string(
            "assignee", &assignee, max: WireLimits.failureKindBytesMax,
            "who is to look after it; empty: nobody")
    }
}

package struct ListDeadLettersReply: WireReply {
    package static let operation = Operation.listDeadLetters
    package static let purpose = "Dead letters, in order of their numbers."

    package var error = ErrorCode.none
    package var message = ""
    package var letters: [DeadLetterLine] = []
    package var hasMore = false

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("letters", &letters, max: WireLimits.lettersMax, "in order")
        try c.bool("hasMore", &hasMore, "ask again with the last number as `after`")
    }
}

/// The number of a dead letter.
package struct DeadLetterNumber: WireItem {
    package static let bytesMin = 8
    package var number: UInt64 = 0

    package init() {}

    package init(_ number: UInt64) {
        self.number = number
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint64("number", &number, "as it was listed")
    }
}

/// What became of each of the letters that a request named, in its order.
package protocol DeadLetterResults: WireReply {
    var results: [CommitResult] { get set }
}

package struct ReplayDeadLettersRequest: WireRequest {
    package typealias Reply = ReplayDeadLettersReply
    package static let operation = Operation.replayDeadLetters
    package static let purpose =
        "Sends dead letters to their group again, beside its normal flow; twice is once."

    package var group = ""
    package var replaysMax: UInt16 = 0
    package var letters: [DeadLetterNumber] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.uint16(
            "replaysMax", &replaysMax, "those that were sent so often before stay; 0: none does")
        try c.array("letters", &letters, max: WireLimits.lettersMax, "which")
    }
}

package struct ReplayDeadLettersReply: DeadLetterResults {
    package static let operation = Operation.replayDeadLetters
    package static let purpose = "One result per letter, in the request's order; durable."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.lettersMax, "one per letter")
    }
}

package struct ResolveDeadLettersRequest: WireRequest {
    package typealias Reply = ResolveDeadLettersReply
    package static let operation = Operation.resolveDeadLetters
    package static let purpose =
        "Says that dead letters need no handling any more; they count as acked."

    package var group = ""
    package var author = ""
    package var note = ""
    package var letters: [DeadLetterNumber] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.string("author", &author, max: WireLimits.failureKindBytesMax, "who says so")
        try c.string("note", &note, max: WireLimits.failureTextBytesMax, "why")
        try c.array("letters", &letters, max: WireLimits.lettersMax, "which")
    }
}

package struct ResolveDeadLettersReply: DeadLetterResults {
    package static let operation = Operation.resolveDeadLetters
    package static let purpose = "One result per letter, in the request's order; durable."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.lettersMax, "one per letter")
    }
}

package struct EditDeadLetterRequest: WireRequest {
    package typealias Reply = EditDeadLetterReply
    package static let operation = Operation.editDeadLetter
    package static let purpose =
        "Changes what will be sent to the group; what died stays in the topic."

    package var group = ""
    package var number: UInt64 = 0
    package var author = ""
    package var note = ""
    package var record: [BytesPiece] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.uint64("number", &number, "which")
        try c.string("author", &author, max: WireLimits.failureKindBytesMax, "who does")
        try c.string("note", &note, max: WireLimits.failureTextBytesMax, "why")
        try c.array(
            "record", &record, max: WireLimits.piecesMax, "a record batch of one record, in pieces")
    }
}

package struct EditDeadLetterReply: WireReply {
    package static let operation = Operation.editDeadLetter
    package static let purpose = "It is changed, durably."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

extension WireLimits {
    /// What the numbers of reasons mean.
    package static let reasons =
        "1: permanent failure; 2: attempts used up; 3: rejected; 4: retention was about to take it"
}
