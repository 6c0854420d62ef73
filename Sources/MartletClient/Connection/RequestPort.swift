import MartletFormat
import MartletSystem
import MartletWire

/// Single requests for `async` callers: administration, metadata, offsets.
///
/// A call waits for the connection until the client's deadline; once sent, it waits for the answer
/// until the request timeout. Only requests that change nothing are repeated.
///
/// Sendable: everything that changes is touched on `queue` only.
final class RequestPort: @unchecked Sendable, LinkUser {
    private final class Waiting {
        let deadline: Int64
        let send: (Connection) -> Void
        let fail: (MartletError) -> Void
        let isOpen: () -> Bool

        init(
            deadline: Int64, send: @escaping (Connection) -> Void,
            fail: @escaping (MartletError) -> Void, isOpen: @escaping () -> Bool
        ) {
            self.deadline = deadline
            self.send = send
            self.fail = fail
            self.isOpen = isOpen
        }
    }

    /// What happens to the connection.
    enum Change: Sendable {
        /// It broke, or the first attempt failed; it is made again while there are calls.
        case down(MartletError)
        /// It is back.
        case up
    }

    private let link: Link
    private let watch: (@Sendable (Change) -> Void)?
    private var isDown = false
    private var waiting = Fifo<Waiting>()
    private var isClosed = false
    /// Why there is no connection; nil before the first attempt has ended.
    private var lastError: MartletError?

    /// - Parameter watch: is told on the event loop, and must not block.
    init(_ context: ConnectionContext, watch: (@Sendable (Change) -> Void)? = nil) {
        self.watch = watch
        link = Link(context)
        link.setUser(self)
    }

    private var context: ConnectionContext { link.context }

    // MARK: - Calls

    /// Sends a request and returns its reply; an error in the reply is thrown.
    ///
    /// - Parameter isRepeatable: whether the request may be sent again when its answer was lost or
    ///   was a retriable error.
    func call<Request: WireRequest>(
        _ request: Request, isRepeatable: Bool, extraTime: Duration = .zero,
        facts: [String: String] = [:]
    ) async throws -> Request.Reply {
        try await call(
            request, isRepeatable: isRepeatable, extraTime: extraTime, facts: facts
        ) { _, reply, _ in reply }
    }

    /// The same for a reply with bytes behind it: `take` gets the frame, the reply in it, and where
    /// its bytes lie. What it throws is thrown.
    func call<Request: WireRequest, Value: Sendable>(
        _ request: Request, isRepeatable: Bool, extraTime: Duration = .zero,
        facts: [String: String] = [:], take: @escaping Take<Request.Reply, Value>
    ) async throws -> Value {
        let start = context.clock.monotonicNanoseconds()
        let deadline = start.addingClamped(context.configuration.deadline.nanosecondsClamped)
        var random = SystemRandomNumberGenerator()
        var attempt = 0
        while true {
            do {
                return try await once(request, deadline: deadline, extraTime: extraTime, take)
            } catch let error as MartletError {
                let now = context.clock.monotonicNanoseconds()
                guard isRepeatable, error.isRetriable, now < deadline else {
                    throw error.adding(facts)
                }
                let pause = context.configuration.retry.delay(attempt: attempt, using: &random)
                attempt += 1
                try await Task.sleep(for: .nanoseconds(min(pause, deadline - now)))
            }
        }
    }

    typealias Take<Reply, Value> = @Sendable (ReplyFrame, Reply, Range<Int>) throws -> Value

    private func once<Request: WireRequest, Value: Sendable>(
        _ request: Request, deadline: Int64, extraTime: Duration,
        _ take: @escaping Take<Request.Reply, Value>
    ) async throws -> Value {
        let promise = Promise<Value>()
        let timeout = context.configuration.requestTimeout + extraTime
        let context = context
        context.loop.execute { [self] in
            enqueue(
                Waiting(
                    deadline: deadline,
                    send: { connection in
                        connection.send(request, timeout: timeout, closesOnTimeout: false) {
                            Self.settle(promise, $0, context, take)
                        }
                        connection.flush()
                    },
                    fail: { promise.fail($0) },
                    isOpen: { promise.isOpen }))
        }
        return try await promise.value()
    }

    private static func settle<Reply: WireReply, Value: Sendable>(
        _ promise: Promise<Value>, _ outcome: ReplyOutcome, _ context: ConnectionContext,
        _ take: Take<Reply, Value>
    ) {
        switch outcome {
        case .lost(let error):
            promise.fail(error)
        case .frame(let frame):
            do {
                let (reply, attachment) = try frame.decode(Reply.self)
                if reply.error == .none {
                    promise.resolve(Result { try take(frame, reply, attachment) })
                } else {
                    promise.fail(MartletError(reply.error, reply.message))
                }
            } catch {
                promise.fail(context.brokenProtocol(error))
            }
        }
    }

    private func enqueue(_ call: Waiting) {
        guard !isClosed else {
            call.fail(.closed("client"))
            return
        }
        if let connection = link.connection {
            call.send(connection)
            return
        }
        waiting.append(call)
        link.want()
        // Without a deadline it ends with the next attempt, however that ends.
        if context.configuration.deadline == .zero { return }
        let left = call.deadline - context.clock.monotonicNanoseconds()
        context.loop.execute(after: max(left, 0)) { [weak self] in self?.expire() }
    }

    // MARK: - Link

    var wantsLink: Bool {
        // Calls whose task was cancelled need no connection.
        _ = waiting.removeAll { $0.isOpen() }
        return !waiting.isEmpty
    }

    /// Each call learns for itself what the broker does not speak.
    var operations: [Operation] { [] }

    func linkIsUp(_ connection: Connection) {
        lastError = nil
        if isDown {
            isDown = false
            watch?(.up)
        }
        for call in waiting.removeAll() where call.isOpen() { call.send(connection) }
    }

    func linkIsDown(_ error: MartletError, downFor: Int64) {
        if error.isRetriable {
            lastError = error
            if !isDown, !isClosed { watch?(.down(error)) }
            isDown = true
            expire()
        } else {
            // The broker refused the hello: trying again would change nothing.
            for call in waiting.removeAll() { call.fail(error) }
        }
    }

    func linkGotError(_ error: MartletError) {}

    private func expire() {
        let now = context.clock.monotonicNanoseconds()
        let late = waiting.removeAll { $0.deadline > now }
        for call in late { call.fail(context.unreachable(link.unfinished ?? lastError)) }
    }

    /// Ends every call with an error and the connection with it. Returns when both happened.
    func close() async {
        let done = Promise<Void>()
        context.loop.execute { [self] in
            isClosed = true
            let error = MartletError.closed("client")
            for call in waiting.removeAll() { call.fail(error) }
            link.close(error)
            done.succeed(())
        }
        await done.settled()
    }
}

extension ConnectionContext {
    /// No broker could be reached within the deadline.
    func unreachable(_ last: MartletError?) -> MartletError {
        let reason = last.map { " The last attempt: \($0.message)" } ?? ""
        return MartletError(
            .connectionFailed, "No broker answers at \(configuration.server).\(reason)",
            outcome: .notWritten,
            context: facts.merging(last?.context ?? [:]) { own, _ in own })
    }
}

extension Int64 {
    /// The sum, or the largest number when it does not fit.
    func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        guard overflow else { return sum }
        return other < 0 ? .min : .max
    }
}
