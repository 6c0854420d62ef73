import MartletWire

/// Who a connection speaks for. Only the hello handler makes one, and the router takes every
/// operation except hello together with one, so no path leads around it.
struct Authenticated: Sendable {
    /// `anonymous` until an authentication mechanism exists.
    let principal: String
    let protocolVersion: UInt16
    let clientName: String
}

/// A connection that has not said who it is: it may send one kind of frame, and only small ones.
struct Unauthenticated: Sendable {
    /// Monotonic nanoseconds; closed when no hello was accepted by then.
    let deadline: Int64
}

/// What a connection is about. It only ever moves down this list.
enum ConnectionPhase {
    case unauthenticated(Unauthenticated)
    case authenticated(Authenticated)
    /// No request is carried out any more. It closes when the open ones are answered and sent.
    /// Frames that still arrive are answered with `refusal`, or dropped when that is nil.
    case finishing(refusal: ErrorCode?)
    /// Everything is sent and our side is shut; what the peer still sends is read and dropped, since
    /// closing with unread bytes would reset the connection and could destroy the last reply.
    case lingering(deadline: Int64)
    case closed

    var isClosed: Bool {
        switch self {
        case .closed: true
        case .unauthenticated, .authenticated, .finishing, .lingering: false
        }
    }
}

/// Why a connection was closed; the label of a metric and the code in the log.
enum CloseReason: String, CaseIterable, Sendable {
    case peer
    case finished
    case socketError = "socket-error"
    case framing
    case helloRequired = "hello-required"
    case helloTimeout = "hello-timeout"
    case frameTimeout = "frame-timeout"
    case idle
    case writeTimeout = "write-timeout"
    case refusedUnacknowledged = "refused-unacknowledged"
    case diskRead = "disk-read"
    case stopping

    /// Whether the peer did something that the log should name.
    var isPeersMistake: Bool {
        switch self {
        case .framing, .helloRequired, .helloTimeout, .frameTimeout, .writeTimeout,
            .refusedUnacknowledged:
            true
        case .peer, .finished, .socketError, .idle, .diskRead, .stopping:
            false
        }
    }
}

/// Why a connection is not read at the moment. Any one of them suspends the read source.
struct ReadPause: OptionSet {
    let rawValue: UInt8

    /// As many requests are open as it may have.
    static let inFlight = ReadPause(rawValue: 1)
    /// Too much output waits because the peer does not read.
    static let output = ReadPause(rawValue: 2)
    /// The storage takes no more now; a frame waits in the input.
    static let storage = ReadPause(rawValue: 4)
    /// The memory for arriving requests is used up, for all connections together.
    static let memory = ReadPause(rawValue: 8)
    /// The peer has finished sending.
    static let ended = ReadPause(rawValue: 16)
}
