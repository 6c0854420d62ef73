import MartletWire

/// An error after which it is of no use to try the record again: the group's policy makes it a dead
/// letter at once, or lets the group stand still there.
///
/// Let errors of your own conform to it, or throw a `PermanentError`.
public protocol PermanentFailure: Error {}

/// A failure that no further attempt mends.
public struct PermanentError: PermanentFailure, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, for people.
    public let reason: String

    /// - Parameter reason: what is wrong, for people.
    public init(_ reason: String) {
        self.reason = reason
    }

    /// The reason.
    public var description: String { reason }
}

/// What is said to the broker of a handler that did not do its work.
struct FailureWords: Hashable, Sendable {
    /// As `SettleEntry` has it.
    let verb: UInt8
    let kind: String
    let text: String

    /// Of an error that a handler threw.
    init(_ error: any Error) {
        verb = error is any PermanentFailure ? 6 : 5
        kind = WireLimits.clip("\(type(of: error))", to: WireLimits.failureKindBytesMax)
        text = WireLimits.clip("\(error)", to: WireLimits.failureTextBytesMax)
    }

    /// Of a record that a handler set aside.
    init(rejected reason: String) {
        verb = 7
        kind = "rejected"
        text = WireLimits.clip(reason, to: WireLimits.failureTextBytesMax)
    }
}
