import MartletFormat
import MartletSystem

@testable import MartletGroups

/// A coordinator with its log, as the broker drives it, and a clock that stands until it is moved.
struct GroupHarness {
    var coordinator: Coordinator
    /// Every record there was, in order: what `$groups` would hold.
    private(set) var log: [GroupRecord] = []
    private(set) var changed: [MemberKey] = []
    /// What happened by the last step.
    private(set) var events: [GroupEvent] = []
    var now = Now(wall: 1_700_000_000_000, monotonic: 1_000_000_000)
    private var incarnation: UInt32 = 1

    init(limits: GroupLimits = GroupLimits()) {
        var limits = limits
        if limits.standstillMilliseconds == 1_000 {
            // A clock that jumps is the rule here.
            limits.standstillMilliseconds = .max / 1_000_000
        }
        limits.plantedBug = CurrentProcess.environment["MARTLET_PLANT"]
            .flatMap { PlantedGroupBug(rawValue: $0) }
        coordinator = Coordinator(limits: limits, incarnation: 1)
    }

    /// Appends records and does what follows from them.
    mutating func take(_ records: [GroupRecord], by cause: GroupCause = .member) {
        events = []
        append(records, cause)
        while true {
            let settled = coordinator.settle(at: now)
            guard !settled.isEmpty else { break }
            append(settled, .broker)
        }
        changed = coordinator.refreshViews(at: now)
    }

    private mutating func append(_ records: [GroupRecord], _ cause: GroupCause) {
        for record in records {
            events += coordinator.hold(record, cause)
            log.append(record)
        }
    }

    mutating func topics(_ shapes: [TopicShape]) {
        coordinator.topicsChanged(shapes)
        take([])
    }

    mutating func advance(milliseconds: Int64) {
        now = Now(
            wall: now.wall + milliseconds, monotonic: now.monotonic + milliseconds * 1_000_000)
    }

    @discardableResult
    mutating func expire() -> Expiry {
        let records = coordinator.expire(at: now)
        take(records, by: .time(now))
        return Expiry(records, events)
    }

    /// What the broker does after a crash: all that is not in the log is gone.
    mutating func restart(_ shapes: [TopicShape]) {
        incarnation += 1
        var fresh = Coordinator(limits: coordinator.limits, incarnation: incarnation)
        for record in log { fresh.replay(record) }
        fresh.forgetOutcomes()
        coordinator = fresh
        topics(shapes)
    }

    // MARK: - A member's steps

    @discardableResult
    mutating func join(_ id: MemberID, _ member: Member, group: String = "g") -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            harness.take(try harness.coordinator.join(group, id, member, at: harness.now))
        }
    }

    @discardableResult
    mutating func heartbeat(
        _ id: MemberID, revision: UInt64 = 1, progress: UInt64 = 0,
        released: [(TopicPartition, Int32)] = [], group: String = "g"
    ) -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            harness.take(
                try harness.coordinator.heartbeat(
                    group, id, revision: revision, progress: progress, released: released,
                    at: harness.now))
        }
    }

    @discardableResult
    mutating func leave(_ id: MemberID, group: String = "g") -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            harness.take(try harness.coordinator.leave(group, id, at: harness.now))
        }
    }

    @discardableResult
    mutating func commit(
        _ id: MemberID?, _ key: TopicPartition, epoch: Int32, _ offset: Int64,
        finished: [Range<Int64>] = [], end: Int64? = nil, group: String = "g"
    ) -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            let commit = Coordinator.Commit(
                partition: key, epoch: epoch,
                committed: CommittedOffset(
                    offset: offset, finished: finished, at: harness.now.wall),
                end: end)
            harness.take([try harness.coordinator.commit(group, id, commit)])
        }
    }

    @discardableResult
    mutating func pause(_ places: [PausePlace] = [.group], group: String = "g") -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            harness.take(try harness.coordinator.pause(group, places, at: harness.now))
        }
    }

    @discardableResult
    mutating func resume(_ places: [PausePlace] = [.group], group: String = "g") -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            harness.take(try harness.coordinator.resume(group, places))
        }
    }

    @discardableResult
    mutating func reset(
        _ key: TopicPartition, expected: Int64 = -2, _ offset: Int64, isForced: Bool = false,
        group: String = "g"
    ) -> GroupRefusal? {
        attempt { harness throws(GroupRefusal) in
            let reset = Coordinator.Reset(partition: key, expected: expected, offset: offset)
            harness.take(
                try harness.coordinator.reset(
                    group, [reset], isForced: isForced, at: harness.now))
        }
    }

    private mutating func attempt(
        _ step: (inout GroupHarness) throws(GroupRefusal) -> Void
    ) -> GroupRefusal? {
        do throws(GroupRefusal) {
            try step(&self)
            return nil
        } catch {
            return error
        }
    }

    /// What the member hears.
    mutating func owned(_ id: MemberID, group: String = "g") -> [TopicPartition: Int32] {
        do throws(GroupRefusal) {
            let view = try coordinator.tell(group, id)
            return Dictionary(uniqueKeysWithValues: view.owned.map { ($0.partition, $0.epoch) })
        } catch {
            return [:]
        }
    }
}

extension MemberID {
    init(_ number: UInt64) {
        self.init(TopicID(high: 0, low: number))
    }
}

extension TopicShape {
    init(_ name: String, _ partitions: Int32) {
        let low = name.utf8.reduce(UInt64(7)) { $0 &* 31 &+ UInt64($1) }
        self.init(name: name, id: TopicID(high: 1, low: low), partitions: partitions)
    }
}

extension Member {
    static func wanting(
        _ topics: [String] = ["orders"], instance: String? = nil, progress: Int32 = 0
    ) -> Member {
        Member(
            instance: instance, client: "test", subscription: Subscription(topics),
            sessionMilliseconds: 10_000, progressMilliseconds: progress,
            drainMilliseconds: 5_000)
    }
}

/// What time alone has done, as it is told.
struct Expiry {
    struct End: Equatable {
        let group: String
        let member: MemberID
        let isStuck: Bool
    }

    struct Overrun {
        let member: MemberID?
        let partition: TopicPartition
        let topic: String?
    }

    let records: [GroupRecord]
    private let events: [GroupEvent]

    init(_ records: [GroupRecord], _ events: [GroupEvent]) {
        self.records = records
        self.events = events
    }

    var ended: [End] {
        events.filter { [.memberTimedOut, .memberStuck].contains($0.kind) }.compactMap { event in
            event.member.map {
                End(group: event.group, member: $0, isStuck: event.kind == .memberStuck)
            }
        }
    }

    var overruns: [Overrun] {
        events.filter { $0.kind == .partitionsTaken }.compactMap { event in
            guard let topic = event.topic, let partition = event.partitions.first else {
                return nil
            }
            return Overrun(
                member: event.member, partition: TopicPartition(topic, partition),
                topic: event.topicName)
        }
    }

    /// Groups that nobody came back to.
    var groups: [(name: String, emptySince: Int64?)] {
        events.filter { $0.kind == .groupExpired }.map { ($0.group, $0.from) }
    }
}

extension Coordinator {
    /// Where it does not matter what time it is.
    func describe(
        _ name: String, gaps: (TopicPartition) -> [Range<Int64>] = { _ in [] }
    ) throws(GroupRefusal) -> GroupDescription {
        try describe(name, at: Now(wall: 0, monotonic: 0), gaps: gaps)
    }
}
