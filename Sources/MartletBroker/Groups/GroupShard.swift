import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// One partition of `$groups` with the groups that live in it. Runs the coordinator: what a command
/// records is appended, then holds, and is told once it is durable. What cannot be appended
/// changes nothing.
///
/// Commands run where they come in, under one lock; none waits for the disk under it.
final class GroupShard: AppendRetry, Sendable {
    struct State {
        var coordinator: Coordinator
        /// Heartbeats that wait, one for each member at most.
        var parked: [MemberKey: ParkedHeartbeat] = [:]
        /// Receives that wait, by their group.
        var receivers: [String: [ObjectIdentifier: ParkedReceive]] = [:]
        /// Commands that came while the log took nothing, in order.
        var putOff: [@Sendable () -> Void] = []
        var isPutOff = false
        /// A record is being decided in place of its handler: one at a time.
        var isDeciding = false
        var putOffBytes = 0
        var isStopped = false
        /// Nothing is told before the log is durable up to here,
        var end: Int64
        /// but deliveries, which rest on what lies below this alone.
        var footing: Int64
        /// When the earliest timer under way runs out; nil without one.
        var armed: Int64?
        /// Records behind the newest snapshot: what a start would have to replay.
        var replayed: Int
        /// How many of them there may be before the next one.
        var snapshotAfter: Int
        /// What retention was told and must not rely on yet.
        var lowMarks: [TopicPartition: LowMark] = [:]
    }

    let log: PartitionLog
    private let snapshots: GroupSnapshots
    let clerk: DeadLetterClerk
    private let keys: KeyReader
    let clock: any Clock
    private let executor: any Executor
    let herald: GroupHerald
    let logger: Logger
    let state: Mutex<State>

    init(
        log: PartitionLog, coordinator: Coordinator, replayed: Int, snapshots: GroupSnapshots,
        clerk: DeadLetterClerk, keys: KeyReader, clock: any Clock, executor: any Executor,
        herald: GroupHerald, logger: Logger
    ) {
        self.log = log
        self.snapshots = snapshots
        self.clerk = clerk
        self.keys = keys
        self.clock = clock
        self.executor = executor
        self.herald = herald
        self.logger = logger
        state = Mutex(
            State(
                coordinator: coordinator, end: log.view.logEnd, footing: log.view.logEnd,
                replayed: replayed,
                snapshotAfter: coordinator.recordsBeforeSnapshot))
    }

    /// What is left to do once the lock is released.
    struct Effects {
        var end: Int64 = 0
        /// Told when all up to `end` is durable.
        var told: [@Sendable (StorageError?) -> Void] = []
        var footing: Int64 = 0
        /// Told when all up to `footing` is.
        var delivered: [@Sendable (StorageError?) -> Void] = []
        var timer: Int64?
        /// Something may be ready for them.
        var woken: [ParkedReceive] = []
        /// Groups whose dead letter topics lack something.
        var unfilled: Set<String> = []
        /// What has to be read for queues in order.
        var keyWants: [Coordinator.KeyWant] = []
        /// What handlers left to the broker.
        var abandoned: Coordinator.Abandoned?
        /// What happened; told when all up to `end` is durable.
        var events: [GroupEvent] = []
        /// A state to be saved, and what it covers.
        var snapshot: (coordinator: Coordinator, end: Int64)?

        mutating func tell(
            asDelivery isDelivery: Bool, restingOn footing: Int64,
            _ tell: @escaping @Sendable (StorageError?) -> Void
        ) {
            guard isDelivery else { return told.append(tell) }
            self.footing = footing
            delivered.append(tell)
        }
    }

    // MARK: - Commands

    /// Runs a command. `handle` says what it records; `reply`, once that holds, what is answered,
    /// or nil when the answer comes later. `heldBytes`: what it holds beside its request.
    /// `isDelivery`: the answer hands out records, and need not wait for what others have settled.
    func run<Message: WireRequest>(
        _ request: Request<Message>, by cause: GroupCause = .member, heldBytes: Int = 0,
        isDelivery: Bool = false,
        _ handle:
            @escaping @Sendable (inout Coordinator, Now) throws(GroupRefusal) -> [GroupRecord],
        _ reply: @escaping @Sendable (inout State, Now) throws(GroupRefusal) -> Message.Reply?
    ) {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            func putOff() {
                self.putOff(request, heldBytes, &state, &effects) {
                    self.run(
                        request, by: cause, heldBytes: heldBytes, isDelivery: isDelivery, handle,
                        reply)
                }
            }
            guard !state.isPutOff else {
                putOff()
                return effects
            }
            // Also a refusal comes from what may not be durable yet.
            effects.end = state.end
            // A timer may come late; who is dead by then is not heard any more.
            if let deadline = state.coordinator.nextDeadline, deadline <= now.monotonic {
                expire(&state, now, &effects)
            }
            do throws(GroupRefusal) {
                let records = try handle(&state.coordinator, now)
                switch append(records, cause, &state, &effects) {
                case .appended: break
                case .later:
                    putOff()
                    return effects
                case .refused(let code, let text):
                    effects.told.append { _ in Self.send(request, code, text) }
                    return effects
                }
                settle(&state, now, &effects)
                defer { wake(&state, now, &effects) }
                if let reply = try reply(&state, now) {
                    effects.tell(asDelivery: isDelivery, restingOn: state.footing) { failure in
                        Self.send(request, reply, failure)
                    }
                }
            } catch {
                effects.told.append { failure in
                    Self.send(request, error.code, error.text, failure)
                }
            }
            return effects
        }
        perform(effects)
    }

    /// The topics that there are now, and one that is gone for ever.
    func topicsChanged(_ shapes: [TopicShape], deleted: TopicID?) {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            state.coordinator.topicsChanged(shapes)
            if let deleted { forget(deleted, &state, &effects) }
            settle(&state, now, &effects)
            return effects
        }
        perform(effects)
    }

    private func forget(_ topic: TopicID, _ state: inout State, _ effects: inout Effects) {
        switch append(state.coordinator.forget(topic), .broker, &state, &effects) {
        case .appended: break
        case .later: state.putOff.append { self.forget(topic) }
        // Left behind, it is only never used again.
        case .refused: break
        }
    }

    func forget(_ topic: TopicID) {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            forget(topic, &state, &effects)
            if !state.isPutOff { settle(&state, now, &effects) }
            return effects
        }
        perform(effects)
    }

    /// Nothing is appended any more: the storage is about to close.
    func stop() {
        state.withLock { $0.isStopped = true }
        snapshots.stop()
    }

    /// Begins the sessions of members that the last start left behind, and goes on with dead
    /// letters on their way.
    func start() {
        tick()
        for group in state.withLock({ $0.coordinator.groupsWithWaitingEntries }) {
            clerk.fill(group, self)
        }
    }

    /// Records what `make` says, for the broker itself, and `follow` does what comes of it in memory;
    /// calls `then` once that holds. Nothing while the shard is stopping.
    func record(
        _ make: @escaping @Sendable (Coordinator) -> [GroupRecord],
        following follow: @escaping @Sendable (inout Coordinator, Now) -> Void = { _, _ in },
        _ then: @escaping @Sendable () -> Void
    ) {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            guard !state.isPutOff else {
                state.putOff.append { self.record(make, following: follow, then) }
                return effects
            }
            switch append(make(state.coordinator), .broker, &state, &effects) {
            case .appended:
                follow(&state.coordinator, now)
                settle(&state, now, &effects)
                effects.told.append { failure in if failure == nil { then() } }
            case .later: state.putOff.append { self.record(make, following: follow, then) }
            case .refused:
                guard !state.isStopped else { break }
                // Until the disk has room.
                executor.execute(after: Self.refusedNanoseconds) {
                    self.record(make, following: follow, then)
                }
            }
            return effects
        }
        perform(effects)
    }

    /// Keys that were read for a queue in order; nil: they could not be. Changes nothing that is
    /// recorded.
    func offer(_ want: Coordinator.KeyWant, _ chunk: KeyChunk?) {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            if let chunk {
                state.coordinator.offer(want.group, want.queue, chunk)
            } else {
                state.coordinator.readNothing(want.group, want.queue)
            }
            wake(&state, now, &effects)
            return effects
        }
        perform(effects)
    }

    private static let refusedNanoseconds: Int64 = 1_000_000_000

    // MARK: - Under the lock

    /// Hands out what is free, and tells those who wait for it.
    private func settle(_ state: inout State, _ now: Now, _ effects: inout Effects) {
        while true {
            let records = state.coordinator.settle(at: now)
            guard !records.isEmpty else { break }
            guard case .appended = append(records, .broker, &state, &effects) else {
                guard !state.isStopped else { return }
                // Once the log takes records again, or soon.
                arm(at: now.monotonic + Self.retryNanoseconds, &state, &effects)
                return
            }
        }
        for key in state.coordinator.refreshViews(at: now) {
            effects.woken +=
                state.receivers.removeValue(forKey: key.group)?.values.map(\.self) ?? []
            guard let heartbeat = state.parked.removeValue(forKey: key) else { continue }
            let reply = HeartbeatReply.view(
                &state.coordinator, key, heartbeat.request.message)
            effects.told.append { failure in heartbeat.answer(reply, failure) }
        }
        effects.end = state.end
        wake(&state, now, &effects)
    }

    /// Records of queues that became ready find those who wait for them, and time finds the rest.
    private func wake(_ state: inout State, _ now: Now, _ effects: inout Effects) {
        for group in state.coordinator.takeReadyQueues() {
            effects.woken += state.receivers.removeValue(forKey: group)?.values.map(\.self) ?? []
        }
        for group in state.coordinator.takeNews() { tellNews(of: group, &state, &effects) }
        effects.keyWants += state.coordinator.takeKeyWants()
        if !state.isDeciding, let abandoned = state.coordinator.nextAbandoned() {
            state.isDeciding = true
            effects.abandoned = abandoned
        }
        if let deadline = state.coordinator.nextDeadline { arm(at: deadline, &state, &effects) }
    }

    private static let retryNanoseconds: Int64 = 100_000_000

    private func arm(at deadline: Int64, _ state: inout State, _ effects: inout Effects) {
        if let armed = state.armed, armed <= deadline { return }
        state.armed = deadline
        effects.timer = deadline
    }

    // MARK: - Time

    var now: Now {
        Now(wall: clock.wallMilliseconds(), monotonic: clock.monotonicNanoseconds())
    }

    private func tick() {
        let now = now
        let effects = state.withLock { state -> Effects in
            var effects = Effects()
            if let armed = state.armed, armed > now.monotonic { return effects }
            guard !state.isPutOff else {
                state.armed = nil
                arm(at: now.monotonic + Self.retryNanoseconds, &state, &effects)
                return effects
            }
            expire(&state, now, &effects)
            return effects
        }
        perform(effects)
    }

    /// Takes from members what time has taken from them.
    private func expire(_ state: inout State, _ now: Now, _ effects: inout Effects) {
        if let armed = state.armed, armed <= now.monotonic { state.armed = nil }
        let records = state.coordinator.expire(at: now)
        if case .appended = append(records, .time(now), &state, &effects) {
            settle(&state, now, &effects)
        } else if !state.isStopped {
            arm(at: now.monotonic + Self.retryNanoseconds, &state, &effects)
        }
    }

    /// The log may take records again.
    func retryAppend(_ log: PartitionLog) {
        executor.execute { self.resume() }
    }

    private func resume() {
        let now = now
        var effects = Effects()
        let commands = state.withLock { state in
            state.isPutOff = false
            settle(&state, now, &effects)
            state.putOffBytes = 0
            defer { state.putOff = [] }
            return state.putOff
        }
        perform(effects)
        for command in commands { command() }
    }

    // MARK: - Outside the lock

    private func perform(_ effects: Effects) {
        if let (coordinator, end) = effects.snapshot {
            snapshots.write(coordinator, covering: end)
        }
        if let deadline = effects.timer {
            let delay = max(deadline - clock.monotonicNanoseconds(), 0)
            executor.execute(after: delay) { [weak self] in self?.tick() }
        }
        for receive in effects.woken { receive.wake() }
        for want in effects.keyWants { keys.read(want, for: self) }
        if let abandoned = effects.abandoned { clerk.execute { self.decide(abandoned) } }
        let (told, unfilled) = (effects.told, effects.unfilled)
        if !unfilled.isEmpty {
            log.whenDurable(
                effects.end,
                WhenDurable { [self] failure in
                    if failure == nil { for group in unfilled { clerk.fill(group, self) } }
                })
        }
        tell(effects.delivered, onceDurable: effects.footing)
        tell(told, onceDurable: effects.end)
        tell(effects.events, onceDurable: effects.end)
    }

    private func tell(_ told: [@Sendable (StorageError?) -> Void], onceDurable end: Int64) {
        guard !told.isEmpty else { return }
        log.whenDurable(end, WhenDurable { failure in for tell in told { tell(failure) } })
    }

    /// Whether it still waited, and waits no more.
    func withdraw(_ heartbeat: ParkedHeartbeat) -> Bool {
        state.withLock { state in
            guard state.parked[heartbeat.key] === heartbeat else { return false }
            state.parked[heartbeat.key] = nil
            return true
        }
    }

    /// It waits no more.
    func withdraw(_ receive: ParkedReceive) {
        let group = receive.request.message.group
        state.withLock { state in
            guard state.receivers[group]?.removeValue(forKey: ObjectIdentifier(receive)) != nil,
                state.receivers[group]?.isEmpty == true
            else { return }
            state.receivers[group] = nil
        }
    }

    static func send<Message: WireRequest>(
        _ request: Request<Message>, _ reply: Message.Reply, _ failure: StorageError?
    ) {
        if let failure { return send(request, StorageErrors.code(failure), failure.message) }
        request.connection.loop.post(.run { request.reply(reply) })
    }

    static func send<Message: WireRequest>(
        _ request: Request<Message>, _ code: ErrorCode, _ text: String,
        _ failure: StorageError? = nil
    ) {
        request.connection.loop.post(.run { request.reply(code, text) })
    }
}
