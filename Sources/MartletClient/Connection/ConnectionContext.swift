import MartletFormat
import MartletSystem
import MartletWire

/// What all connections of a client share.
struct ConnectionContext: Sendable {
    let configuration: ClientConfiguration
    let loop: EventLoop
    /// Ends the loop's thread with its last user, when nobody closed the client.
    let lease: LoopLease
    /// Looks names up: that may block, which `loop` must not.
    let resolver: SerialQueue
    let pool: SlabPool
    let clock: any Clock
    let handlerTimes: HandlerTimeBook

    /// Facts for an error's context.
    var facts: [String: String] { ["server": configuration.server] }

    func failure(_ error: SystemError) -> MartletError {
        MartletError(
            .connectionLost, "\(configuration.server): \(error).", outcome: .unknown,
            context: facts)
    }

    /// The server's name has no address, or none is to be had now.
    func unresolved() -> MartletError {
        failure("cannot be looked up: its name does not resolve").adding(["cause": "name"])
    }

    /// The peer took the connection and says nothing.
    func silent() -> MartletError {
        failure("does not answer the hello").adding(["cause": "protocol"])
    }

    func failure(_ what: String) -> MartletError {
        MartletError(
            .connectionLost, "The broker at \(configuration.server) \(what).", outcome: .unknown,
            context: facts)
    }

    func brokenProtocol(_ error: WireError) -> MartletError { brokenProtocol("\(error)") }

    func brokenProtocol(_ what: String) -> MartletError {
        MartletError(
            .protocolError, "The peer at \(configuration.server) does not speak Martlet: \(what).",
            outcome: .unknown,
            context: facts.merging(["cause": "protocol"]) { _, new in new })
    }
}

/// Stops an event loop when nobody uses it any more.
final class LoopLease: Sendable {
    private let loop: EventLoop

    init(_ loop: EventLoop) {
        self.loop = loop
    }

    deinit {
        loop.stop()
    }
}

/// The version that hello names.
enum ClientVersion {
    static let text = "1.0.0"
}
