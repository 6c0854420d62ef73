package import MartletWire

/// The kinds of errors that the client makes itself, for what happens on this side of the wire.
///
/// The only table of them: `MartletErrorCode` has its names from here and from `ErrorCode`, and so
/// has the tool's list of all codes.
package enum ClientErrorCode: String, CaseIterable, Sendable {
    case connectionFailed = "CONNECTION_FAILED"
    case connectionLost = "CONNECTION_LOST"
    case deadlineExceeded = "DEADLINE_EXCEEDED"
    case bufferFull = "BUFFER_FULL"
    case closed = "CLOSED"
    case invalidArgument = "INVALID_ARGUMENT"
    case protocolError = "PROTOCOL_ERROR"
}

extension ClientErrorCode {
    /// UPPER_SNAKE name; none is also a broker's.
    package var name: String { rawValue }

    /// Whether the same call may succeed later without any change.
    package var isRetriable: Bool {
        switch self {
        case .connectionFailed, .connectionLost, .deadlineExceeded, .bufferFull, .protocolError:
            true
        case .closed, .invalidArgument:
            false
        }
    }

    /// What it says about the records of a send, where the error itself does not know better.
    package var outcome: ErrorOutcome {
        switch self {
        case .connectionFailed, .bufferFull, .closed, .invalidArgument: .notWritten
        case .connectionLost, .deadlineExceeded, .protocolError: .unknown
        }
    }

    /// One sentence for people: what happened and, where it helps, what to do.
    package var text: String {
        switch self {
        case .connectionFailed: "No broker could be reached within the deadline."
        case .connectionLost: "The connection broke before the answer came."
        case .deadlineExceeded: "The time that the caller allowed ran out."
        case .bufferFull:
            "The producer's buffer is full: the broker takes records more slowly than they are "
                + "made."
        case .closed: "The client, producer or consumer was closed."
        case .invalidArgument: "An argument or a setting is not allowed; nothing was sent."
        case .protocolError:
            "The peer does not speak the protocol as Protocol.md describes it: is it a broker of "
                + "this version?"
        }
    }
}
