import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// The coordinator under random operations, against what its members believe, with a crash and a
/// replay after every record.
@Suite struct CoordinatorModelTests {
    /// A member as the model has it: what it was told and has not given up.
    fileprivate struct Believer {
        var owned: [TopicPartition: Int32] = [:]
        var wanted = Member.wanting()
    }

    fileprivate struct Model {
        var random: SeededRandom
        var harness = GroupHarness()
        var shapes = [TopicShape("orders", 3), TopicShape("payments", 2)]
        var believers: [MemberID: Believer] = [:]
        /// Who was first seen to own a partition under an epoch.
        var owners: [TopicPartition: [Int32: MemberID]] = [:]
        var commits: [TopicPartition: Int64] = [:]
        var parked: [TopicPartition: Set<Int64>] = [:]
        /// Epochs under which something was released that its owner had passed.
        var outdated: [TopicPartition: Int32] = [:]
        var releases = 0
        /// The owner that the last check saw, with its epoch.
        var held: [TopicPartition: (owner: MemberID, epoch: Int32)] = [:]
        /// What members have heard is theirs, ever.
        var heard: [MemberID: [TopicPartition: Int32]] = [:]
        /// What the last step's member gave up.
        var released: [TopicPartition: Int32] = [:]
        var hasTimePassed = false
        /// Who left in the last step.
        var left: MemberID?
        /// What owners were served up to, and under which epoch.
        var served: [TopicPartition: (epoch: Int32, below: Int64)] = [:]
        /// Where an owner was lost without a word: what it was served that is not committed.
        var lost: [TopicPartition: Int64] = [:]
        var losses = 0
        /// What those wanted who left since somebody joined last.
        var departed: Set<String> = []
        var nextMember: UInt64 = 1
        var nextOffset: Int64 = 1
        var accepted = 0
        var refused = 0
        var crashes = 0
        var pauses = 0
        var resets = 0

        init(seed: UInt64) {
            random = SeededRandom(seed: seed)
            harness.topics(shapes)
        }
    }

    @Test(arguments: [UInt64(81), 82, 83, 84, 85, 86, 87, 88])
    func `no partition has two owners, no stale commit counts, and nothing is lost by a crash`(
        _ seed: UInt64
    ) {
        var model = Model(seed: seed)
        for _ in 0..<2_000 {
            model.step()
            model.check()
        }
        #expect(model.accepted > 100 && model.refused > 20 && model.crashes > 20)
        #expect(model.pauses > 20 && model.resets > 20 && model.losses > 0)
        #expect(model.releases > 20)
        print(
            "coordinator: \(model.harness.log.count) records, \(model.accepted) commits, "
                + "\(model.refused) refused, \(model.crashes) crashes, \(model.losses) losses, seed \(seed)"
        )
    }
}

extension CoordinatorModelTests.Model {
    mutating func step() {
        released = [:]
        hasTimePassed = false
        left = nil
        switch random.below(28) {
        case 0...1: join()
        case 2: leave()
        case 3...8: heartbeat()
        case 9...13: commit()
        case 14: staleCommit()
        case 15: crash()
        case 16: grow()
        case 17: pause()
        case 18: resume()
        case 19: reset()
        case 20...21: serve()
        case 22...23: park()
        case 24: release()
        default:
            hasTimePassed = true
            harness.advance(milliseconds: Int64(random.below(2_500)))
            let members = harness.coordinator.groups["g"]?.state.members ?? [:]
            for end in harness.expire().ended {
                departed.formUnion(members[end.member]?.subscription.terms ?? [])
                believers[end.member]?.wanted = .wanting()
            }
        }
    }

    private mutating func someone() -> MemberID? {
        let ids = believers.keys.sorted()
        return ids.isEmpty ? nil : ids[random.below(ids.count)]
    }

    private mutating func join() {
        guard believers.count < 7 else { return }
        let id = MemberID(nextMember)
        nextMember += 1
        let instance = random.chance(1, in: 3) ? "i\(random.below(3))" : nil
        let topics = random.chance(1, in: 3) ? ["payments"] : ["*"]
        believers[id] = CoordinatorModelTests.Believer(
            wanted: .wanting(topics, instance: instance))
        #expect(harness.join(id, .wanting(topics, instance: instance)) == nil)
        departed = []
    }

    private mutating func leave() {
        guard let id = someone() else { return }
        let member = harness.coordinator.groups["g"]?.state.members[id]
        departed.formUnion(member?.subscription.terms ?? [])
        harness.leave(id)
        left = id
        believers[id] = nil
    }

    /// A member hears what it owns, and gives up what it is not told any more; sometimes late.
    /// Sometimes it was cut off for long, and has let go of everything.
    private mutating func heartbeat() {
        guard let id = someone(), var believer = believers[id] else { return }
        let forgets = random.chance(1, in: 10)
        if forgets { believer.owned = [:] }
        let view = harness.owned(id)
        heard[id, default: [:]].merge(view) { max($0, $1) }
        let gone = believer.owned.filter { view[$0.key] != $0.value }
        released = random.chance(1, in: 3) ? [:] : gone
        let refusal = harness.heartbeat(
            id, revision: forgets ? 0 : 1, released: released.map { ($0.key, $0.value) })
        if refusal != nil {
            believers[id] = nil  // It learns that it is out, and ends.
            return
        }
        for key in released.keys { believer.owned[key] = nil }
        for (key, epoch) in harness.owned(id) {
            believer.owned[key] = epoch
            heard[id, default: [:]][key] = epoch
        }
        believers[id] = believer
    }

    private mutating func commit() {
        guard let id = someone(), let believer = believers[id], !believer.owned.isEmpty else {
            return
        }
        let (key, epoch) = believer.owned.sorted { $0.key < $1.key }[
            random.below(believer.owned.count)]
        nextOffset += 1
        let refusal = harness.commit(id, key, epoch: epoch, nextOffset)
        // Who was first under an epoch is the only one whose commits under it may count.
        if refusal == nil {
            accepted += 1
            commits[key] = nextOffset
            parked[key] = parked[key]?.filter { $0 >= nextOffset }
            #expect(owners[key]?[epoch] == id)
            #expect(owners[key]?.keys.max() == epoch)
        } else {
            refused += 1
        }
    }

    /// A member is handed records of what it believes to own.
    private mutating func serve() {
        guard let id = someone(), let believer = believers[id], !believer.owned.isEmpty else {
            return
        }
        let (key, epoch) = believer.owned.sorted { $0.key < $1.key }[
            random.below(believer.owned.count)]
        let from = max(commits[key] ?? 0, served[key]?.below ?? 0)
        let range = from..<(from + Int64(1 + random.below(20)))
        harness.coordinator.served("g", id, key, epoch: epoch, range)
        let partition = harness.coordinator.groups["g"]?.state.partitions[key]
        guard partition?.owner == id, partition?.epoch == epoch else { return }
        served[key] = (epoch, range.upperBound)
    }

    private mutating func park() {
        guard let id = someone(), let owned = believers[id]?.owned, !owned.isEmpty else { return }
        let (key, epoch) = owned.sorted { $0.key < $1.key }[random.below(owned.count)]
        let offset = (commits[key] ?? 0) + Int64(random.below(20))
        var policy = FailurePolicy()
        (policy.last, policy.breaker.sharePercent) = (.parkKey, 0)
        let failed = Coordinator.FailedRecord(
            OwnedRecord(key, epoch: epoch, offset, hasKey: true),
            HandlerFailure(.permanent, kind: "", text: "", at: 0))
        do throws(GroupRefusal) {
            harness.take(try harness.coordinator.setPolicy("g", policy))
            let outcome = try harness.coordinator.fail("g", id, failed, nil, at: harness.now)
            harness.take(outcome.records)
            #expect(outcome.answer == .parked(isKey: true))
            parked[key, default: []].insert(offset)
        } catch {
            refused += 1
        }
    }

    private mutating func release() {
        let places = parked.flatMap { key, offsets in
            offsets.map { RecordPlace(.flow(key), $0) }
        }.sorted()
        guard !places.isEmpty else { return }
        let place = places[random.below(places.count)]
        guard let outcome = try? harness.coordinator.release("g", [place]) else { return }
        #expect(outcome.refusals.isEmpty)
        let epoch = harness.coordinator.groups["g"]?.state.partitions[place.partition]?.epoch
        outdated[place.partition] = epoch
        harness.take(outcome.records)
        parked[place.partition]?.remove(place.offset)
        releases += 1
    }

    /// Whoever passed what was released is told to give it up, once he knows that he has it.
    private func checkReleased(_ key: TopicPartition, _ partition: PartitionState) {
        let offsets = harness.coordinator.groups["g"]?.state.queues[.flow(key)]?.parked.keys
        #expect(Set(offsets.map { Array($0) } ?? []) == parked[key] ?? [])
        guard let owner = partition.owner, outdated[key] == partition.epoch,
            !harness.coordinator.unsettled.contains("g"),
            let group = harness.coordinator.groups["g"], group.activity.told[owner] != nil
        else { return }
        #expect(group.activity.sessions[owner]?.view[key] == nil, "kept what was released")
    }

    private mutating func staleCommit() {
        guard let id = someone(), let (key, epochs) = owners.randomElement(using: &random) else {
            return
        }
        for epoch in epochs.keys where epochs[epoch] != id || epoch != epochs.keys.max() {
            #expect(harness.commit(id, key, epoch: epoch, 1) != nil)
            refused += 1
        }
    }

    private mutating func crash() {
        crashes += 1
        harness.restart(shapes)
    }

    private mutating func place() -> PausePlace {
        let shape = shapes[random.below(shapes.count)]
        let partition = Int32(random.below(Int(shape.partitions)))
        switch random.below(4) {
        case 0: return .group
        case 1: return PausePlace(topic: shape.id, partition: -1)
        default: return PausePlace(topic: shape.id, partition: partition)
        }
    }

    private mutating func pause() {
        if harness.pause([place()]) == nil { pauses += 1 }
    }

    /// Often all of it, so that there is work most of the time.
    private mutating func resume() {
        harness.resume([random.chance(1, in: 2) ? .group : place()])
    }

    /// Whoever had the partition loses it, or has it under a new epoch.
    private mutating func reset() {
        let shape = shapes[random.below(shapes.count)]
        let key = TopicPartition(shape.id, Int32(random.below(Int(shape.partitions))))
        let offset = Int64(random.below(1_000))
        guard harness.reset(key, offset, isForced: random.chance(1, in: 2)) == nil else { return }
        commits[key] = offset
        (held[key], served[key], lost[key], parked[key]) = (nil, nil, nil, nil)
        resets += 1
    }

    private mutating func grow() {
        guard shapes[0].partitions < 12 else { return }
        shapes[0] = TopicShape("orders", shapes[0].partitions + 1)
        harness.topics(shapes)
    }

    mutating func check() {
        guard let state = harness.coordinator.groups["g"]?.state else { return }
        for (key, partition) in state.partitions {
            #expect(partition.committed?.offset == commits[key])
            checkHandOver(key, partition, state)
            checkReleased(key, partition)
            guard let owner = partition.owner else { continue }
            let first = owners[key]?[partition.epoch]
            #expect(first == nil || first == owner, "two owners of one epoch")
            owners[key, default: [:]][partition.epoch] = owner
            #expect(owners[key]?.keys.max() == partition.epoch, "an epoch went back")
        }
        checkWanted(state)
        checkReplay(state)
    }

    /// Whatever members want, or wanted last who are gone, has a line of its own.
    private func checkWanted(_ state: GroupState) {
        let terms = departed.union(state.members.values.flatMap(\.subscription.terms))
        let lines = Set(
            (try? harness.coordinator.describe("g"))?.partitions.map(\.partition) ?? [])
        for shape in shapes where terms.contains("*") || terms.contains(shape.name) {
            for number in 0..<shape.partitions {
                #expect(lines.contains(TopicPartition(shape.id, number)), "\(shape.name) \(number)")
            }
        }
    }

    /// Who is a member, and has neither given the partition up nor run out of time, keeps it.
    private mutating func checkHandOver(
        _ key: TopicPartition, _ partition: PartitionState, _ state: GroupState
    ) {
        if let before = held[key], !hasTimePassed, state.members[before.owner] != nil,
            released[key] != before.epoch, heard[before.owner]?[key] == before.epoch
        {
            #expect(partition.owner == before.owner, "taken from who did not give it up")
        }
        checkSuspicion(key, partition)
        if held[key] == nil, state.isPaused(key) {
            #expect(partition.owner == nil, "granted while it stands still")
        }
        held[key] = partition.owner.map { ($0, partition.epoch) }
    }

    /// What an owner was served that went without a word is suspect until it is committed; nothing is
    /// without that.
    private mutating func checkSuspicion(_ key: TopicPartition, _ partition: PartitionState) {
        if let before = held[key], before.epoch != partition.epoch || partition.owner == nil,
            left != before.owner, released[key] != before.epoch
        {
            let below = served[key].flatMap { $0.epoch == before.epoch ? $0.below : nil } ?? 0
            lost[key] = max(lost[key] ?? 0, below)
            if below > commits[key] ?? 0 { losses += 1 }
        }
        guard let below = lost[key] else {
            #expect(partition.suspectBelow == 0, "suspect without a loss")
            return
        }
        #expect(
            below <= commits[key] ?? 0 || partition.suspectBelow >= below, "a loss is forgotten")
    }

    /// A crash at this very moment, and one that finds a snapshot.
    private func checkReplay(_ state: GroupState) {
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        #expect(replayed.groups["g"]?.state == state)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }
}
