import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// What groups take that stand still: there may be very many of them, so each byte counts 100,000 times.
@Suite struct GroupMemoryTests {
    private let topic = TopicShape(name: "t", id: TopicID(high: 1, low: 1), partitions: 10)

    private var keys: [TopicPartition] { (0..<10).map { TopicPartition(topic.id, $0) } }

    /// As after a start: the records come again, then the topics.
    private func started(_ records: [GroupRecord]) -> Coordinator {
        var harness = GroupHarness()
        harness.take([.created(group: "g", at: 1, .stream, isNamed: true)] + records)
        var started = Coordinator(limits: GroupLimits(), incarnation: 2)
        for record in harness.log { started.replay(record) }
        started.forgetOutcomes()
        started.topicsChanged([topic])
        while true {
            let settled = started.settle(at: harness.now)
            if settled.isEmpty { break }
            for record in settled { started.replay(record) }
        }
        _ = started.refreshViews(at: harness.now)
        return started
    }

    private var committed: [GroupRecord] {
        keys.map { .committed(group: "g", $0, CommittedOffset(offset: 5, at: 1)) }
    }

    private var reset: [GroupRecord] {
        [.reset(group: "g", keys.map { StreamReset($0, at: 5, epoch: 1) }, at: 1)]
    }

    /// Beside its partitions, which the next test counts: `self[key]?.change()` of an empty dictionary
    /// takes room and keeps it, and so does room that is reserved for nothing.
    @Test func `an idle group keeps no room for what it does not have`() throws {
        for records in [committed, reset, committed + reset] {
            let group = try #require(started(records).groups["g"])
            let rooms = Room.all(in: group)
            #expect(
                rooms.count { $0.bytes > 0 } == 2, "its topics, their rows: \(rooms)")
        }
    }

    /// The row `groups-memory` of docs/BENCHMARKS.md measures the whole broker. What it has beside this
    /// is the place of each group in the dictionary of groups, and what the allocator rounds up.
    @Test func `a committed offset takes 110 bytes beside its group, and 64 of them in its row`()
        throws
    {
        // A field more than these have room for is eight bytes more for each partition.
        #expect(MemoryLayout<PartitionRows.Row>.stride == 64)
        // Twice of it for each group, as a dictionary has room to spare.
        #expect(MemoryLayout<Group>.stride <= 448)
        for records in [committed, reset] {
            let group = try #require(started(records).groups["g"])
            let bytes = Room.all(in: group).reduce(0) { $0 + $1.bytes }
            #expect(bytes <= 110 * keys.count)
        }
    }

    @Test func `rows are found and go again, whatever the order they came in`() {
        var table = PartitionTable()
        var model: [TopicPartition: PartitionState] = [:]
        let topics = [TopicID(high: 1, low: 1), TopicID(high: 1, low: 2)]
        var random = SeededRandom(seed: 7)
        for step in 0..<5_000 {
            let number = Int32.random(in: -1...40, using: &random)
            let key = TopicPartition(topics[Int.random(in: 0...1, using: &random)], number)
            if Int.random(in: 0...2, using: &random) == 0 {
                (table[key], model[key]) = (nil, nil)
            } else {
                table[key, default: PartitionState()].epoch = Int32(step)
                model[key, default: PartitionState()].epoch = Int32(step)
            }
            #expect(table[key] == model[key] && table.count == model.count)
        }
        #expect(Dictionary(uniqueKeysWithValues: table.map { ($0.key, $0.value) }) == model)
        #expect(Set(table.keys) == Set(model.keys))
        // Equal to one that was made in another way: nothing is left of what is gone.
        var again = PartitionTable()
        for (key, state) in model { again[key] = state }
        #expect(again == table)
        for key in model.keys { table[key] = nil }
        #expect(table.isEmpty && table == PartitionTable())
    }
}

/// What a collection has room for.
private struct Room: CustomStringConvertible {
    let description: String
    let bytes: Int

    /// Of all collections in a value, and in those.
    static func all(in value: Any, _ name: String = "group") -> [Room] {
        let own = (value as? any Roomy).map { [Room(description: name, bytes: $0.roomBytes)] } ?? []
        return own
            + Mirror(reflecting: value).children.flatMap { child in
                all(in: child.value, "\(name).\(child.label ?? "_")")
            }
    }
}

private protocol Roomy {
    /// What it has allocated, about; 0: nothing.
    var roomBytes: Int { get }
}

extension Array: Roomy {
    fileprivate var roomBytes: Int {
        capacity == 0 ? 0 : 32 + capacity * MemoryLayout<Element>.stride
    }
}

/// A hash table has a power of two of places, of which three in four may be taken: one has room for
/// nothing, and is there all the same.
private func tableBytes(_ capacity: Int, _ entryBytes: Int) -> Int {
    var places = 1
    while places * 3 / 4 < capacity { places *= 2 }
    return 72 + places * entryBytes
}

extension Dictionary: Roomy {
    fileprivate var roomBytes: Int {
        isShared(self, with: [:])
            ? 0 : tableBytes(capacity, MemoryLayout<Key>.stride + MemoryLayout<Value>.stride)
    }
}

extension Set: Roomy {
    fileprivate var roomBytes: Int {
        isShared(self, with: []) ? 0 : tableBytes(capacity, MemoryLayout<Element>.stride)
    }
}

/// Whether both are the same object: all that have no room are the one of the standard library.
private func isShared<Table>(_ one: Table, with other: Table) -> Bool {
    unsafe unsafeBitCast(one, to: UInt.self) == unsafeBitCast(other, to: UInt.self)
}
