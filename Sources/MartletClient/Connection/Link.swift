import MartletFormat
import MartletSystem
import MartletWire

/// Who uses a link. All calls come on the link's queue.
protocol LinkUser: AnyObject {
    /// Requests may be sent.
    func linkIsUp(_ connection: Connection)
    /// The connection broke, or an attempt to connect failed. Open requests were told before.
    ///
    /// - Parameter downFor: nanoseconds since the link was last up, or since it was first wanted.
    func linkIsDown(_ error: MartletError, downFor: Int64)
    /// Whether a connection is needed now: asked before each attempt.
    var wantsLink: Bool { get }
    /// What the user cannot do without: a broker that does not speak it is of no use.
    var operations: [Operation] { get }
    /// The broker sent an error that answers no request.
    func linkGotError(_ error: MartletError)
}

/// Keeps one connection to the broker for its user: makes it when it is wanted, and makes it again
/// when it breaks, with growing random pauses.
///
/// Sendable: confined to `queue`.
final class Link: @unchecked Sendable {
    private enum State {
        /// Nobody wants a connection.
        case idle
        case connecting(Connection?)
        case up(Connection)
        /// Pausing before the next attempt; the number tells a timer whether it is the current one.
        case pausing(UInt64)
        case closed
    }

    let context: ConnectionContext
    var loop: EventLoop { context.loop }
    private let comesFirst: Bool
    private weak var user: (any LinkUser)?
    private var state = State.idle
    private var attempt = 0
    /// When the connection came up.
    private var upSince: Int64 = 0
    private var pauses: UInt64 = 0
    private var downSince: Int64?
    private var random = SystemRandomNumberGenerator()

    /// - Parameter comesFirst: as for `Connection`.
    init(_ context: ConnectionContext, comesFirst: Bool = false) {
        self.context = context
        self.comesFirst = comesFirst
    }

    func setUser(_ user: any LinkUser) {
        self.user = user
    }

    /// The connection, when requests can be sent over it: not while its end is being told.
    var connection: Connection? {
        if case .up(let connection) = state, connection.isReady { return connection }
        return nil
    }

    /// What the attempt under way waits for, which can be longer than the link's users wait.
    var unfinished: MartletError? {
        guard case .connecting(let connection) = state else { return nil }
        guard let connection else { return context.unresolved() }
        return connection.isGreeting ? context.silent() : nil
    }

    /// Asks for a connection: cheap when there is one or one is being made.
    func want() {
        loop.assertCurrent()
        guard case .idle = state else { return }
        downSince = context.clock.monotonicNanoseconds()
        connect()
    }

    /// Closes for ever; open requests are told.
    func close(_ error: MartletError) {
        loop.assertCurrent()
        let before = state
        state = .closed
        switch before {
        case .connecting(let connection): connection?.close(error)
        case .up(let connection): connection.close(error)
        case .idle, .pausing, .closed: break
        }
    }

    /// Breaks the connection that is up, if any, as if the network had done it.
    func interrupt(_ error: MartletError) {
        loop.assertCurrent()
        if case .up(let connection) = state { connection.close(error) }
    }

    private func connect() {
        state = .connecting(nil)
        let server = context.configuration.server
        let context = context
        context.resolver.execute { [self] in
            let result: Result<[SocketAddress], SystemError>
            do throws(SystemError) {
                result = .success(try SocketAddress.resolve(server))
            } catch {
                result = .failure(error)
            }
            context.loop.execute { [self] in resolved(result) }
        }
    }

    private func resolved(_ result: Result<[SocketAddress], SystemError>) {
        guard case .connecting(nil) = state else { return }
        switch result {
        case .success(let addresses):
            // The next attempt tries the next address.
            guard !addresses.isEmpty else {
                failed(context.unresolved())
                return
            }
            start(to: addresses[attempt % addresses.count])
        case .failure(let error):
            failed(error.isUnknownHost ? context.unresolved() : context.failure(error))
        }
    }

    private func start(to address: SocketAddress) {
        let connection = Connection(context, comesFirst: comesFirst)
        state = .connecting(connection)
        connection.whenReady = { [weak self, weak connection] in
            guard let self, let connection else { return }
            self.isUp(connection)
        }
        connection.whenClosed = { [weak self] error in self?.failed(error) }
        connection.whenUnsolicited = { [weak self] error in self?.user?.linkGotError(error) }
        connection.start(to: address)
    }

    private func isUp(_ connection: Connection) {
        guard case .connecting = state else { return }
        for operation in user?.operations ?? [] {
            guard let refusal = connection.refusal(of: operation) else { continue }
            connection.close(refusal)
            return
        }
        state = .up(connection)
        upSince = context.clock.monotonicNanoseconds()
        downSince = nil
        user?.linkIsUp(connection)
    }

    private func failed(_ error: MartletError) {
        if case .closed = state { return }
        let now = context.clock.monotonicNanoseconds()
        // A broker that closes each connection soon is not come back to in a tight loop.
        if case .up = state, now - upSince >= context.configuration.retry.cap.nanosecondsClamped {
            attempt = 0
        }
        let since = downSince ?? now
        downSince = since
        pauses += 1
        state = .pausing(pauses)
        user?.linkIsDown(error, downFor: now - since)
        // The user may have closed the link.
        guard case .pausing(let number) = state else { return }
        guard user?.wantsLink == true else {
            state = .idle
            attempt = 0
            return
        }
        let pause = context.configuration.retry.delay(attempt: attempt, using: &random)
        attempt += 1
        loop.execute(after: pause) { [weak self] in self?.pauseEnded(number) }
    }

    private func pauseEnded(_ number: UInt64) {
        guard case .pausing(number) = state else { return }
        guard user?.wantsLink == true else {
            state = .idle
            attempt = 0
            return
        }
        connect()
    }
}
