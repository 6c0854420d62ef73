import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import Synchronization

/// Writes `$group-events`. Beside the groups and never before them: they neither wait for it nor hear
/// of it when it cannot be written. What comes within a second goes in one turn. What finds no room
/// is counted, and the topic says itself how much is missing.
final class GroupEventTopic: AppendRetry, Sendable {
    static let name = "$group-events"

    /// What it keeps, and how it goes about it.
    struct Options: Sendable {
        var retentionMilliseconds: Int64
        var retentionBytes: Int64
        var pending: PendingEvents.Limits
        /// From the end of one turn to the next.
        var pauseNanoseconds: Int64
    }

    /// A part of a turn that fits one batch.
    private struct Part: Sendable {
        let events: [GroupEvent]
        /// What of them says how many are missing.
        let missed: Int64
    }

    private struct State {
        var pending: PendingEvents
        /// Not written yet of this turn, in order.
        var parts: [Part] = []
        /// Found no room, and the topic does not say so yet.
        var missed: Int64 = 0
        /// A turn is to come, or under way.
        var isBusy = false
        var isStopped = false
        var lastTurn: Int64?
        var log: PartitionLog?
    }

    private let engine: StorageEngine
    private let options: Options
    private let clock: any Clock
    /// Waits for the disk.
    private let disk: any Executor
    private let counters: GroupCounters
    private let logger: Logger
    private let forgets: Bool
    private let state: Mutex<State>

    init(_ setup: GroupService.Setup, _ options: Options) {
        engine = setup.engine
        self.options = options
        clock = setup.clock
        disk = setup.disk
        counters = setup.counters
        logger = setup.logger.limited()
        forgets = setup.limits.plantedBug == .forgetEvents
        state = Mutex(State(pending: PendingEvents(options.pending)))
    }

    /// Takes events that hold. Any thread; never waits.
    func take(_ events: [GroupEvent]) {
        let (turn, dropped) = state.withLock { state -> (Int64?, Int64) in
            var dropped: Int64 = 0
            for event in events where state.isStopped || !state.pending.add(event) { dropped += 1 }
            if !forgets { state.missed += dropped }
            return (next(&state), dropped)
        }
        if dropped > 0 { tellDropped(dropped) }
        schedule(turn)
    }

    /// Of the end of the start before, nobody knows how many are missing.
    func tellCrash() {
        var event = GroupEvent(.eventsMissed, "", by: .broker)
        (event.at, event.reason) = (clock.wallMilliseconds(), "crash")
        take([event])
    }

    /// Writes what there is, for the last time; `disk` is done with it before what it is asked for later.
    func stop() {
        disk.execute { [self] in
            turn()
            let left = state.withLock { state -> Int64 in
                state.isStopped = true
                return state.parts.reduce(Int64(state.pending.events.count)) {
                    $0 + Int64($1.events.count)
                }
            }
            if left > 0 { tellDropped(left) }
        }
    }

    // MARK: - Turns

    /// When the next turn is due, if none is to come anyway.
    private func next(_ state: inout State) -> Int64? {
        guard !state.isBusy, !state.isStopped else { return nil }
        state.isBusy = true
        guard let last = state.lastTurn else { return 0 }
        return max(0, last + options.pauseNanoseconds - clock.monotonicNanoseconds())
    }

    private func schedule(_ nanoseconds: Int64?) {
        guard let nanoseconds else { return }
        disk.execute(after: nanoseconds) { [weak self] in self?.turn() }
    }

    /// On `disk`.
    private func turn() {
        if state.withLock({ $0.isStopped }) { return }
        do throws(StorageError) {
            begin()
            // The topic is made with the first event.
            guard state.withLock({ !$0.parts.isEmpty }) else { return rest() }
            let log = try open()
            while let part = state.withLock({ $0.parts.first }) {
                switch try append(part, to: log) {
                case .appended, .duplicate: done(part)
                case .later: return  // `retryAppend` goes on.
                case .refused(let refusal):
                    throw StorageError(.offline, StorageErrors.refusal(refusal).text)
                }
            }
        } catch {
            logger.warning(
                "GROUP_EVENTS_NOT_WRITTEN",
                "what happens to groups is not written to $group-events now",
                [("reason", LogValue(error.message))])
        }
        rest()
    }

    /// Until something comes, or after a pause when something is left.
    private func rest() {
        let turn = state.withLock { state -> Int64? in
            state.isBusy = false
            state.lastTurn = clock.monotonicNanoseconds()
            return state.parts.isEmpty && state.pending.isEmpty ? nil : next(&state)
        }
        schedule(turn)
    }

    func retryAppend(_ log: PartitionLog) { disk.execute { self.turn() } }

    private func done(_ part: Part) {
        counters.events.add(part.events.count)
        state.withLock { state in
            state.parts.removeFirst()
            state.missed -= part.missed
        }
    }

    // MARK: - Parts

    private static let partEvents = 500

    /// Divides what is pending, unless something is left of the turn before.
    private func begin() {
        let taken = state.withLock { state -> (pending: PendingEvents, missed: Int64)? in
            guard state.parts.isEmpty else { return nil }
            defer { state.pending = PendingEvents(options.pending) }
            return (state.pending, state.missed)
        }
        guard let taken else { return }
        var events = taken.pending.inOrder
        if taken.missed > 0 {
            events.append(Self.missing(taken.missed, at: clock.wallMilliseconds()))
        }
        let parts = stride(from: 0, to: events.count, by: Self.partEvents).map { start in
            let some = Array(events[start..<min(start + Self.partEvents, events.count)])
            let isLast = start + Self.partEvents >= events.count
            return Part(events: some, missed: isLast ? taken.missed : 0)
        }
        state.withLock { $0.parts = parts }
    }

    private static func missing(_ count: Int64, at time: Int64) -> GroupEvent {
        var event = GroupEvent(.eventsMissed, "", by: .broker)
        (event.at, event.count, event.reason) = (time, count, "full")
        return event
    }

    private func append(_ part: Part, to log: PartitionLog) throws(StorageError) -> AppendOutcome {
        guard let (slab, header) = GroupEventBatch.encode(part.events) else {
            throw StorageError(.corrupt, "\(part.events.count) events fit in no batch")
        }
        return log.append(slab, 0..<slab.count, header, retry: self)
    }

    // MARK: - The topic

    /// Blocks.
    private func open() throws(StorageError) -> PartitionLog {
        if let log = state.withLock({ $0.log }) { return log }
        let topic = try topic()
        let log = try InternalLog.partition(0, of: topic)
        state.withLock { $0.log = log }
        return log
    }

    /// As the configuration says, also when it said something else before.
    private func topic() throws(StorageError) -> Topic {
        let settings = [
            "retention.ms": "\(options.retentionMilliseconds)",
            "retention.bytes": "\(options.retentionBytes)", "segment.bytes": "16777216",
            "segment.ms": "86400000", "durability": "written", "cleanup.policy": "delete",
        ]
        if let found = engine.topic(named: Self.name) {
            let changes = settings.filter { found.metadata.overrides[$0] != $1 }
            if !changes.isEmpty, found.offlineReason == nil {
                _ = try engine.alterTopic(
                    found.id, changes: changes.map { ($0, $1) }, validateOnly: false)
            }
            return found
        }
        let made = try engine.createTopic(
            name: Self.name, partitions: 1, settings: settings, id: .random(), isInternal: true)
        guard let made else { throw StorageError(.offline, "\(Self.name) was not made") }
        return made
    }

    private func tellDropped(_ count: Int64) {
        counters.eventsDropped.add(Int(clamping: count))
        logger.error(
            "GROUP_EVENTS_DROPPED", "events of groups found no room and are not in $group-events",
            [("events", LogValue(count))])
    }
}

/// Events as they are appended.
enum GroupEventBatch {
    /// nil: they do not fit.
    static func encode(_ events: [GroupEvent]) -> (slab: ByteSlab, header: RecordBatchHeader)? {
        let values = events.map { GroupEventValue.bytes($0) }
        let bytes = zip(events, values).reduce(0) { sum, pair in
            sum
                + RecordBatchBuilder.estimatedBytes(
                    keyBytes: pair.0.group.utf8.count, valueBytes: pair.1.count)
                + 64
        }
        let slab = ByteSlab(capacity: RecordBatch.headerBytes + bytes)
        let builder = RecordBatchBuilder(slab: slab)
        for (event, value) in zip(events, values) {
            let key = event.group.isEmpty ? nil : Array(event.group.utf8)
            let type = (
                key: GroupEventValue.typeHeader, value: Array(event.kind.rawValue.utf8) as [UInt8]?
            )
            let isIn = unsafe builder.append(
                key: key?.span.bytes, value: value.span.bytes, headers: [type], timestamp: event.at)
            guard isIn else { return nil }
        }
        return (slab, builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1))
    }
}
