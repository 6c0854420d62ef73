import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// A member of a queue group: joins, stays in it, and has what it is handed handled.
final class QueueMember: LeaseTaker {
    private let configuration: QueueConfiguration
    private let id = GroupCore.newMember()
    private let work: LeasedWork
    private let finished = SharedEnd()

    init(
        _ configuration: QueueConfiguration, _ context: ConnectionContext,
        _ handler: @escaping LeasedWork.Handler
    ) {
        var configuration = configuration
        configuration.onEvent = configuration.onEvent.map(Self.oneByOne)
        self.configuration = configuration
        work = LeasedWork(configuration.work, context, handler)
    }

    /// Events come from the member's tasks and from its connection.
    private static func oneByOne(
        _ hook: @escaping QueueConfiguration.EventHook
    ) -> QueueConfiguration.EventHook {
        let turn = SharedTurn()
        return { event in turn.take { hook(event) } }
    }

    private var facts: [String: String] { ["group": configuration.group] }

    // MARK: - From beginning to end

    /// Returns when it was stopped, and what its handlers have begun is over and said.
    func run() async throws {
        defer { finished.come() }
        do {
            try await join()
        } catch {
            await work.port.close()
            throw error
        }
        await work.run(self, beat: beat)
        if !work.isUnreachable { await leave() }
        await work.port.close()
        if let error = work.end.error { throw error }
    }

    /// For the client's end.
    func close() async {
        work.stop(nil)
        await finished.settled()
    }

    func member() -> TopicID? { id }

    func isUnknown(_ member: TopicID, _ error: MartletError) async throws -> Bool {
        guard error.code == .fencedMember else { return false }
        try await join()
        return true
    }

    // MARK: - Membership

    private func join() async throws {
        var request = JoinGroupRequest()
        request.group = configuration.group
        request.member = id
        request.kind = configuration.start.wire(configuration.order)
        request.sessionMilliseconds = configuration.sessionTimeout.wire
        request.drainMilliseconds = configuration.drainTimeout.wire
        request.topics = configuration.topics.map { TopicNameItem($0) }
        work.trace(.joining(member: id.description))
        _ = try await work.port.call(request, isRepeatable: true, facts: facts)
        configuration.onEvent?(.joined(member: id.description))
    }

    private func leave() async {
        work.trace(.leaving(member: id.description))
        var request = LeaveGroupRequest()
        request.group = configuration.group
        request.member = id
        do {
            _ = try await work.port.call(request, isRepeatable: false, facts: facts)
        } catch {
            // Its session ends by itself then, and with it what it holds.
        }
    }

    private func beat() async throws {
        let wait = configuration.sessionTimeout / 3
        var request = HeartbeatRequest()
        request.group = configuration.group
        request.member = id
        request.maxWaitMilliseconds = wait.millisecondsClamped
        var news = NewsReader()
        while true {
            request.news = news.number
            do {
                let reply = try await work.port.call(
                    request, isRepeatable: true, extraTime: wait, facts: facts)
                request.revision = reply.revision
                for event in news.read(reply) { configuration.onEvent?(.news(event)) }
            } catch let error as MartletError where error.code == .fencedMember {
                // What it holds is lost, or soon will be: whoever is told says so.
                configuration.onEvent?(.fenced(error))
                request.revision = 0
                try await join()
            }
        }
    }
}

/// Lets one caller in at a time.
private final class SharedTurn: Sendable {
    private let turn = Mutex(())

    func take(_ body: () -> Void) { turn.withLock { _ in body() } }
}

extension QueueConfiguration {
    fileprivate var work: LeasedWork.Settings {
        LeasedWork.Settings(
            group: group, concurrency: concurrency, window: window, lease: lease,
            handlerTimeout: handlerTimeout, drainTimeout: drainTimeout, onLost: onLost,
            onDamage: { [onEvent] damage in
                onEvent?(.damaged(damage.partition, damage.range, damage.error))
            },
            onFailure: onFailure,
            onConnection: { [onEvent] change in
                switch change {
                case .down(let error): onEvent?(.disconnected(error))
                case .up: onEvent?(.reconnected)
                }
            }, trace: trace)
    }
}
