import MartletFormat

/// A group's breaker at one moment.
package struct BreakerItem: WireItem {
    package static let bytesMin = 33
    package var state: UInt8 = 0
    package var since: Int64 = -1
    package var until: Int64 = -1
    package var outcomes: UInt32 = 0
    package var failures: UInt32 = 0
    package var openings: UInt64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("state", &state, "0: closed; 1: half-open; 2: open")
        try c.int64("since", &since, "milliseconds since 1970 UTC; -1: it is closed")
        try c.int64("until", &until, "it is tried again then; -1: it is not open")
        try c.uint32("outcomes", &outcomes, "newest outcomes that count now")
        try c.uint32("failures", &failures, "so many of them were transient failures")
        try c.uint64("openings", &openings, "how often it opened since the broker started")
    }
}

package struct SetBreakerRequest: WireRequest {
    package typealias Reply = SetBreakerReply
    package static let operation = Operation.setBreaker
    package static let purpose = "Opens or closes the breaker of a group by hand."

    package var group = ""
    package var isOpen = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.bool("isOpen", &isOpen, "open it, for as long as its policy says; else close it")
    }
}

package struct SetBreakerReply: WireReply {
    package static let operation = Operation.setBreaker
    package static let purpose = "It is so, durably."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}
