import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import Synchronization

/// Lets retention take records once what queues had begun with is copied to dead letters. Retention
/// asks in each of its rounds and goes on elsewhere meanwhile; the copying is a row of small jobs
/// beside it. It waits for a bounded time: a disk that takes no copies must not keep the records
/// that fill it.
final class RescueDesk: Sendable {
    private struct Watch {
        /// Retention may take what lies below.
        var target: Int64
        /// Nothing is waited for after this, on the monotonic clock.
        let deadline: Int64
        var isRunning = true
        /// What cannot be kept: groups without room, records that nobody can read.
        var full: Set<String> = []
        var unreadable: Set<RecordPlace> = []

        /// Once more, with what is known.
        var again: Watch {
            var watch = self
            watch.isRunning = true
            return watch
        }
    }

    /// Until the clerk has made room.
    private static let pauseNanoseconds: Int64 = 20_000_000
    /// Of records that are read for one step.
    private static let stepBytes = 1 << 20
    private static let stepRecords = 1_000
    private static let unreadableMax = 1_000

    private let engine: StorageEngine
    private let clerk: DeadLetterClerk
    private let disk: any Executor
    /// How long retention of a partition waits.
    private let patienceNanoseconds: Int64
    private let clock: any Clock
    private let logger: Logger
    private let watches = Mutex<[TopicPartition: Watch]>([:])
    private let isStopped = Atomic(false)

    init(_ setup: GroupService.Setup, _ clerk: DeadLetterClerk) {
        engine = setup.engine
        self.clerk = clerk
        disk = setup.disk
        patienceNanoseconds = setup.limits.rescueMillisecondsMax * 1_000_000
        clock = setup.clock
        logger = setup.logger.limited()
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    private enum Step {
        case start
        case wait
        case go(below: Int64)
        case giveUp
    }

    /// Up to where records may go, at most to `target`; nil: not yet, ask again.
    func release(_ key: TopicPartition, _ target: Int64, _ shards: [GroupShard]) -> Int64? {
        let now = clock.monotonicNanoseconds()
        guard shards.contains(where: { $0.isOwed(key, below: target) }) else {
            watches.withLock { $0[key] = nil }
            return target
        }
        let (step, watch) = watches.withLock { watches -> (Step, Watch?) in
            guard let watch = watches[key] else {
                watches[key] = Watch(
                    target: target, deadline: now + patienceNanoseconds)
                return (.start, nil)
            }
            if !watch.isRunning {
                watches[key] = nil
                return (.go(below: min(watch.target, target)), watch)
            }
            guard now >= watch.deadline else { return (.wait, nil) }
            watches[key] = nil
            return (.giveUp, nil)
        }
        switch step {
        case .start:
            disk.execute { self.step(key, shards) }
            return nil
        case .wait: return nil
        case .go(let below):
            guard let watch else { return below }
            // Members that go on beginning there would keep it going for ever.
            let until = now + patienceNanoseconds
            shards.forEach { $0.close(key, below: below, until: until) }
            // What they began with since then is copied, too.
            guard !isSafe(key, below, watch, shards) else { return below }
            guard now < watch.deadline else { return giveUp(key, below) }
            watches.withLock { $0[key] = watch.again }
            disk.execute { self.step(key, shards) }
            return nil
        case .giveUp: return giveUp(key, target)
        }
    }

    private func giveUp(_ key: TopicPartition, _ target: Int64) -> Int64 {
        logger.error(
            "RESCUE_GIVEN_UP",
            "retention waits no longer for copies of records that were not handled: they expire",
            facts(key))
        return target
    }

    private func isSafe(
        _ key: TopicPartition, _ target: Int64, _ watch: Watch, _ shards: [GroupShard]
    ) -> Bool {
        shards.allSatisfy { shard in
            shard.endangered(key, below: target, max: Self.unreadableMax + 1, besides: watch.full)
                .allSatisfy { group in
                    group.offsets.allSatisfy {
                        watch.unreadable.contains(RecordPlace(.flow(key), $0))
                    }
                }
        }
    }

    // MARK: - Copying

    /// Copies some records of one group, or is done with the partition.
    private func step(_ key: TopicPartition, _ shards: [GroupShard]) {
        guard !isStopped.load(ordering: .relaxed),
            let watch = watches.withLock({ $0[key] }), watch.isRunning
        else { return }
        for shard in shards {
            let groups = shard.endangered(
                key, below: watch.target, max: Self.stepRecords + Self.unreadableMax,
                besides: watch.full)
            for group in groups {
                let offsets = group.offsets.filter {
                    !watch.unreadable.contains(RecordPlace(.flow(key), $0))
                }
                guard !offsets.isEmpty else { continue }
                return copy(group.group, offsets, key, shard, shards)
            }
        }
        finish(key, shards[...])
    }

    private func copy(
        _ group: String, _ offsets: [Int64], _ key: TopicPartition, _ shard: GroupShard,
        _ shards: [GroupShard]
    ) {
        let places = offsets.prefix(Self.stepRecords).map { RecordPlace(.flow(key), $0) }
        let (contents, _) = clerk.reader.contents(of: places, bytesMax: Self.stepBytes)
        var bodies: [(offset: Int64, body: [UInt8])] = []
        var lost: [Int64] = []
        for place in places {
            switch contents[place] {
            case .record(let body, _): bodies.append((place.offset, body))
            case .gone, .unreadable: lost.append(place.offset)
            case nil: break  // For another step.
            }
        }
        forget(lost, group, key)
        let copied = bodies
        shard.rescue(group, key, copied) { [weak self] rescue in
            self?.follow(rescue, group, key, shards)
        }
    }

    /// What nobody can read is not asked for again.
    private func forget(_ offsets: [Int64], _ group: String, _ key: TopicPartition) {
        guard !offsets.isEmpty else { return }
        watches.withLock { watches in
            for offset in offsets {
                watches[key]?.unreadable.insert(RecordPlace(.flow(key), offset))
            }
            guard let count = watches[key]?.unreadable.count, count > Self.unreadableMax else {
                return
            }
            watches[key]?.full.insert(group)
        }
    }

    /// The copies are on the disk.
    private func follow(
        _ rescue: Coordinator.Rescue, _ group: String, _ key: TopicPartition,
        _ shards: [GroupShard]
    ) {
        let facts = self.facts(key) + [("group", LogValue(group))]
        if !rescue.records.isEmpty {
            logger.warning(
                "RECORDS_RESCUED",
                "retention is about to take records that a group did not get done: they are dead "
                    + "letters now",
                facts + [("records", LogValue(rescue.records.count))])
        }
        if rescue.isFull {
            logger.error(
                "RESCUE_FULL",
                "a group may keep no more of what retention takes: the rest expires", facts)
            watches.withLock { _ = $0[key]?.full.insert(group) }
        }
        let pause = rescue.isBusy ? Self.pauseNanoseconds : 0
        disk.execute(after: pause) { [weak self] in self?.step(key, shards) }
    }

    /// All that was settled meanwhile has to be on the disk, too: a crash must not bring it back
    /// when its records are gone. What was no record does not expire with them, and what nobody has
    /// received from does.
    private func finish(_ key: TopicPartition, _ shards: ArraySlice<GroupShard>) {
        guard let shard = shards.first else {
            return watches.withLock { $0[key]?.isRunning = false }
        }
        let log = engine.topic(id: key.topic)?.partition(key.partition)
        let start = log?.view.logStart ?? 0
        let leaving = start..<max(start, watches.withLock { $0[key]?.target } ?? 0)
        shard.record { [engine] coordinator in
            coordinator.losing(leaving, of: key, gaps: engine.vacant)
        } _: { [weak self] in
            self?.finish(key, shards.dropFirst())
        }
    }

    private func facts(_ key: TopicPartition) -> [(String, LogValue)] {
        let name = engine.topic(id: key.topic)?.name ?? "\(key.topic)"
        return [("topic", LogValue(name)), ("partition", LogValue(Int64(key.partition)))]
    }

    // MARK: - Afterwards

    /// Retention or a person has taken what lies below, or could not: queues are told what they have
    /// lost.
    func tell(_ key: TopicPartition, below offset: Int64, _ shards: [GroupShard]) {
        for shard in shards {
            // Once what is gone counts as expired: until then nobody may begin with it.
            guard shard.isOwed(key, below: offset) else {
                shard.keep(key)
                continue
            }
            let lost = Carried<[(group: String, count: Int64)]>([])
            shard.record { coordinator in
                let expiring = coordinator.expiring(key, below: offset)
                lost.value = expiring.map { ($0.group, $0.count) }
                return expiring.map(\.record)
            } following: { coordinator, _ in
                coordinator.keep(key)
            } _: { [self] in
                for (group, count) in lost.value {
                    logger.error(
                        "RECORDS_EXPIRED",
                        "retention or a person took records that a group had not handled",
                        facts(key) + [
                            ("group", LogValue(group)), ("records", LogValue(count)),
                            ("below", LogValue(offset)),
                        ])
                }
            }
        }
    }
}
