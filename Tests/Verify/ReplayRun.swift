import Glibc
import MartletClient
import MartletTestSupport
import Synchronization

/// Many records that are sent to a group again, to both kinds of group, while new ones come and the
/// broker is killed: exactly those that were chosen come, and the group's flow does not notice.
struct ReplayRun {
    let options: Options
    private static let topic = "verify"
    private static let partitions: Int32 = 8
    private static let members = 4
    private static let secondsToCatchUp = 600

    init(_ options: Options) { self.options = options }

    struct Result: PartialResult {
        let kind: String
        var chosen = 0
        var ranges = 0
        var fresh = 0
        var handed = 0
        /// Handed more than once: after a kill that is as it must be.
        var again = 0
        var seconds = 0.0
        var violations: [String: Int] = [:]

        var isViolated: Bool { !violations.isEmpty }
        var isConclusive: Bool { chosen > 0 && fresh > 0 && handed >= chosen }

        var summary: [String] {
            violations.sorted { $0.key < $1.key }.map { "VIOLATION \($0.key): \($0.value)" } + [
                "  \(kind): \(chosen) sent again in \(ranges) ranges, \(fresh) came new, \(handed) handed, \(again) of them again, \(Int(seconds * 1_000)) ms"
            ]
        }
    }

    func run() async throws -> CombinedVerdict<Result> {
        let work = "\(options.work)-\(getpid())"
        try? FileTree.remove(work)
        try FileTree.make(work)
        defer { try? FileTree.remove(work) }
        let broker = BrokerProcess(bin: options.bin, data: "\(work)/data", work: work)
        try broker.start()
        var random = SeededRandom(seed: options.seed)
        let configuration = ClientConfiguration(server: broker.listen, deadline: .seconds(120))
        let results = try await Martlet.withClient(configuration) { client in
            try await client.admin.createTopic(Self.topic, partitions: Int(Self.partitions))
            try await Self.produce(options.events, client)
            var results: [Result] = []
            for isQueue in [false, true] {
                results.append(try await run(isQueue, broker, client, &random))
            }
            return results
        }
        try broker.terminate()
        return CombinedVerdict(
            heading:
                "replay: seed \(options.seed), \(options.kills) kills of the broker for each kind",
            parts: results)
    }

    private static func produce(_ count: Int, _ client: MartletClient) async throws {
        try await client.withProducer { producer in
            let value = [UInt8](repeating: 7, count: 100)
            for number in 0..<count {
                try await producer.enqueueInTime(
                    topic, value, partition: Int32(number % Int(partitions)))
            }
        }
    }

    private func ends(_ client: MartletClient) async throws -> [Int32: Int64] {
        let found = try await client.admin.listOffsets(
            Self.topic, at: .latest, partitions: Array(0..<Self.partitions))
        return Dictionary(
            found.map { ($0.partition, $0.offset) }, uniquingKeysWith: { first, _ in first })
    }

    private func run(
        _ isQueue: Bool, _ broker: BrokerProcess, _ client: MartletClient,
        _ random: inout SeededRandom
    ) async throws -> Result {
        let group = isQueue ? "queue" : "stream"
        let ends = try await ends(client)
        try await client.admin.createGroup(group, isQueue ? .queue(.latest) : .stream)
        if !isQueue {
            let offsets = ends.map { (TopicPartition(Self.topic, $0.key), $0.value) }
            try await client.admin.commitOffsets(
                group, Dictionary(offsets, uniquingKeysWith: { first, _ in first }))
        }
        let handed = Handed(ends)
        let crew = (0..<Self.members).map { _ in
            Task { try await Self.consume(client, group, isQueue, handed) }
        }
        defer { for member in crew { member.cancel() } }
        if isQueue { try await wait(client, group) { $0.queues.count == Int(Self.partitions) } }
        var result = Result(kind: group)
        let chosen = Self.choose(ends, &random)
        result.ranges = chosen.values.reduce(0) { $0 + $1.count }
        let clock = ContinuousClock()
        let begun = clock.now
        let sent = try await client.admin.replayRecords(chosen, to: group)
        result.chosen = Int(sent)
        let count = max(100, options.events / 20)
        result.fresh = count
        async let fresh: Void = Self.produce(count, client)
        for _ in 0..<options.kills {
            pause(milliseconds: Int.random(in: 100...1_000, using: &random))
            try broker.kill()
            try broker.start()
        }
        try await fresh
        try await wait(client, group) { group in
            group.lag == 0 && group.replays.allSatisfy { $0.open == 0 }
        }
        result.seconds = (clock.now - begun) / .seconds(1)
        let described = try await client.admin.describeGroup(group)
        for member in crew { member.cancel() }
        for member in crew { _ = await member.result }
        check(&result, described, handed, chosen, sent)
        return result
    }

    /// Ranges all over the log, a few single records among them.
    private static func choose(
        _ ends: [Int32: Int64], _ random: inout SeededRandom
    ) -> [TopicPartition: [Range<Int64>]] {
        var chosen: [TopicPartition: [Range<Int64>]] = [:]
        for (partition, end) in ends.sorted(by: { $0.key < $1.key }) {
            var ranges: [Range<Int64>] = []
            var at: Int64 = 0
            while at < end {
                let longest = random.chance(1, in: 3) ? 1 : 500
                let upper = min(end, at + 1 + Int64(random.below(longest)))
                ranges.append(at..<upper)
                // All of it but for some holes.
                at = upper + (random.chance(1, in: 4) ? Int64(random.below(20)) : 0)
            }
            chosen[TopicPartition(topic, partition)] = ranges
        }
        return chosen
    }

    private static func consume(
        _ client: MartletClient, _ group: String, _ isQueue: Bool, _ handed: Handed
    ) async throws {
        if isQueue {
            let configuration = QueueConfiguration(
                group, topics: [topic], concurrency: 16, prefetch: 4_096)
            try await client.consumeQueue(configuration) { record in
                handed.add(record.record)
                return .done
            }
        } else {
            let configuration = GroupConsumerConfiguration(
                group, topics: [topic], commitPolicy: .afterProcessing(interval: .milliseconds(50)))
            try await client.consumeGroup(configuration, handling: .unordered(16)) {
                handed.add($0)
            }
        }
    }

    private func wait(
        _ client: MartletClient, _ group: String, until isOver: (GroupDescription) -> Bool
    ) async throws {
        for _ in 0..<(Self.secondsToCatchUp * 20) {
            if isOver(try await client.admin.describeGroup(group)) { return }
            pause(milliseconds: 50)
        }
        let last = try await client.admin.describeGroup(group)
        throw VerifyError("\(group) does not come to its end: \(last.lag), \(last.replays)")
    }

    private func check(
        _ result: inout Result, _ group: GroupDescription, _ handed: Handed,
        _ chosen: [TopicPartition: [Range<Int64>]], _ sent: Int64
    ) {
        func note(_ what: String, _ count: Int) {
            if count > 0 { result.violations[what, default: 0] += count }
        }
        let done = group.replays.reduce(Int64(0)) { $0 + $1.handled }
        note("accounts", done == sent && group.replays.allSatisfy { $0.dead == 0 } ? 0 : 1)
        note("flow", group.queues.allSatisfy { $0.expired == 0 && $0.dead == 0 } ? 0 : 1)
        for partition in 0..<Self.partitions {
            let wanted = chosen[TopicPartition(Self.topic, partition)] ?? []
            let (lost, stray, total, again) = handed.check(partition, wanted)
            note("lost", lost)
            note("stray", stray)
            result.handed += total
            result.again += again
        }
        let isWhole = handed.fresh >= result.fresh
        note("flow lost", isWhole ? 0 : 1)
        // Without a kill nothing comes twice.
        if options.kills == 0 { note("twice", result.again) }
    }
}

/// How often each record of before the replay was handed out.
private final class Handed: Sendable {
    private struct State {
        var counts: [Int32: [UInt8]]
        var fresh: Set<Int64> = []
    }

    private let state: Mutex<State>

    init(_ ends: [Int32: Int64]) {
        state = Mutex(State(counts: ends.mapValues { [UInt8](repeating: 0, count: Int($0)) }))
    }

    func add(_ record: ConsumedRecord) {
        let (partition, offset) = (record.partition, Int(record.offset))
        state.withLock { state in
            guard let count = state.counts[partition]?.count, offset < count else {
                state.fresh.insert(Int64(partition) << 40 | record.offset)
                return
            }
            let before = state.counts[partition]?[offset] ?? 0
            state.counts[partition]?[offset] = before == .max ? .max : before + 1
        }
    }

    var fresh: Int { state.withLock { $0.fresh.count } }

    func check(
        _ partition: Int32, _ wanted: [Range<Int64>]
    ) -> (lost: Int, stray: Int, total: Int, again: Int) {
        state.withLock { state in
            let counts = state.counts[partition] ?? []
            var isWanted = [Bool](repeating: false, count: counts.count)
            for range in wanted { for offset in range { isWanted[Int(offset)] = true } }
            var (lost, stray, total, again) = (0, 0, 0, 0)
            for (offset, count) in counts.enumerated() {
                if isWanted[offset], count == 0 { lost += 1 }
                if !isWanted[offset], count > 0 { stray += 1 }
                total += Int(count)
                again += max(0, Int(count) - 1)
            }
            return (lost, stray, total, again)
        }
    }
}

extension Producer {
    /// Waits for room where there is none.
    fileprivate func enqueueInTime(
        _ topic: String, _ value: [UInt8], partition: Int32
    ) async throws {
        while true {
            do {
                return try enqueue(topic: topic, value: value, partition: partition)
            } catch let error as MartletError where error.code == .bufferFull {
                try await waitForSpace()
            }
        }
    }
}
