import MartletWire

/// What became of the records that an error is about.
public enum DeliveryOutcome: String, Sendable {
    /// None of them is in the log, now or later: they may be sent again.
    case notWritten = "not written"
    /// They may be in the log: sending them again may store them twice.
    case unknown = "unknown"
    /// The error is not about records that were to be written.
    case notApplicable = "not applicable"
}

/// Everything that this module throws, besides `CancellationError`.
public struct MartletError: Error, Sendable, CustomStringConvertible {
    /// The kind of error, to branch on.
    public let code: MartletErrorCode
    /// One sentence for people.
    public let message: String
    /// Whether the same call may succeed later without any change: also when no broker could be
    /// reached, which may be there later. The kind of the error decides. `outcome` says whether
    /// records may be sent again without being stored twice.
    public let isRetriable: Bool
    /// Whether the object that threw it is of no use any more and a new one is needed.
    public let isFatal: Bool
    /// How long the caller should wait before the next try, when that is known.
    public let retryAfter: Duration?
    /// What became of the records, when the error is about a send.
    public let outcome: DeliveryOutcome
    /// Facts by name: `topic`, `partition`, `from`, `to`, `server`, as far as they apply.
    public let context: [String: String]

    init(
        _ code: MartletErrorCode, _ message: String, isFatal: Bool = false,
        retryAfter: Duration? = nil, outcome: DeliveryOutcome = .notApplicable,
        context: [String: String] = [:]
    ) {
        self.code = code
        self.message = message
        isRetriable = code.isRetriable
        self.isFatal = isFatal
        self.retryAfter = retryAfter
        self.outcome = outcome
        self.context = context
    }

    /// An error that the broker answered. Its own words win over the general ones.
    init(_ code: ErrorCode, _ message: String, context: [String: String] = [:]) {
        let outcome: DeliveryOutcome =
            switch code.outcome {
            case .notWritten: .notWritten
            case .unknown: .unknown
            case .notApplicable: .notApplicable
            }
        self.init(
            MartletErrorCode(code), message.isEmpty ? code.text : message,
            isFatal: code == .staleProducerEpoch, outcome: outcome, context: context)
    }

    /// The code, the message, and the context in brackets.
    public var description: String {
        guard !context.isEmpty else { return "\(code): \(message)" }
        let facts = context.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return "\(code): \(message) [\(facts.joined(separator: " "))]"
    }

    /// The same error with more facts, and another outcome where one is given.
    func adding(
        _ facts: [String: String], outcome: DeliveryOutcome? = nil, isFatal: Bool? = nil
    ) -> MartletError {
        MartletError(
            code, message, isFatal: isFatal ?? self.isFatal, retryAfter: retryAfter,
            outcome: outcome ?? self.outcome, context: context.merging(facts) { _, new in new })
    }

    static func closed(_ what: String) -> MartletError {
        MartletError(.closed, "The \(what) is closed.", isFatal: true, outcome: .notWritten)
    }

    static func invalid(_ field: String, _ reason: String) -> MartletError {
        MartletError(
            .invalidArgument, "\(field) \(reason).", outcome: .notWritten,
            context: ["field": field])
    }

    static func protocolError(_ message: String) -> MartletError {
        MartletError(.protocolError, message)
    }
}
