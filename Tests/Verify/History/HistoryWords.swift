import MartletClient
import MartletJSON
import MartletSystem
import MartletTestSupport

/// What an operator says to the queues meanwhile: policies, releases, replays.
struct HistoryWords {
    private let client: MartletClient
    private let history: HistoryWriter
    /// Up to where records were sent again, by partition: none is chosen twice.
    private var sent: [Int32: Int64] = [:]
    /// Since when the queue behind retention stands still.
    private var stopped: Int64?

    init(_ client: MartletClient, _ history: HistoryWriter) {
        self.client = client
        self.history = history
    }

    /// `floors`: below them the free queue has settled all.
    mutating func say(_ floors: [Int32: Int64], _ random: inout SeededRandom) async throws {
        try await fallBehind(&random)
        if random.chance(1, in: 4) { try await release() }
        if random.chance(1, in: 6) { try await park(key: random.chance(2, in: 3)) }
        if random.chance(1, in: 2) { try await sendAgain(floors, &random) }
    }

    /// So long that retention takes what nobody has begun with: it looks once a second, and comes a
    /// few rounds later where something has to be copied first.
    private mutating func fallBehind(_ random: inout SeededRandom) async throws {
        let now = SystemClock().bootNanoseconds()
        if let stopped {
            if now - stopped > 5_000_000_000 { try await end() }
        } else if random.chance(1, in: 3) {
            stopped = now
            try await client.admin.pauseGroup(HistoryWorker.passingGroup)
        }
    }

    /// Nothing stands still any more.
    mutating func end() async throws {
        guard stopped != nil else { return }
        stopped = nil
        try await client.admin.resumeGroup(HistoryWorker.passingGroup)
    }

    func release() async throws {
        write("release")
        try await client.admin.releaseAllParked(of: HistoryWorker.orderedGroup)
        write("released")
        try await releaseStream()
    }

    private func releaseStream() async throws {
        let group = HistoryWorker.parkingGroup
        let stream = try await client.admin.describeGroup(group)
        let parked = stream.partitions.reduce(0) { $0 + $1.parked }
        guard parked > 0 else { return }
        try await client.admin.releaseAllParked(of: group)
        history.write(
            .nemesis, nil,
            ["f": "release-stream", "m": .string(group), "parked": .integer(parked)])
    }

    /// What becomes of what fails in the queue in order. Only by what members say: of what they are
    /// killed with, again and again, the broker would park it and nobody would have said so.
    func park(key: Bool) async throws {
        let policy = FailurePolicy(attempts: 0, last: key ? .parkKey : .parkRecord)
        // What is certain is written: that keys are parked when it holds, that they may not be when it
        // is asked for.
        if !key { write("park-record") }
        try await client.admin.setFailurePolicy(policy, of: HistoryWorker.orderedGroup)
        if key { write("park-key") }
    }

    mutating func sendAgain(_ floors: [Int32: Int64], _ random: inout SeededRandom) async throws {
        var chosen: [TopicPartition: [Range<Int64>]] = [:]
        for (partition, floor) in floors.sorted(by: { $0.key < $1.key })
        where random.chance(1, in: 2) {
            let from = sent[partition, default: 0] + Int64(random.below(5))
            let to = min(floor, from + Int64(random.within(1...40)))
            guard from < to else { continue }
            sent[partition] = to
            chosen[TopicPartition(HistoryWorker.topic, partition)] = [from..<to]
        }
        guard !chosen.isEmpty else { return }
        write(chosen, .invoke)
        try await client.admin.replayRecords(chosen, to: HistoryWorker.queueGroup)
        write(chosen, .ok)
    }

    private func write(_ chosen: [TopicPartition: [Range<Int64>]], _ phase: HistoryEvent.Phase) {
        for (partition, ranges) in chosen {
            for range in ranges {
                history.write(
                    .replay, phase,
                    [
                        "k": JSONValue(partition.partition), "off": .integer(range.lowerBound),
                        "to": .integer(range.upperBound),
                    ])
            }
        }
    }

    private func write(_ what: String) {
        history.write(
            .nemesis, nil, ["f": .string(what), "m": .string(HistoryWorker.orderedGroup)])
    }
}
