import MartletClient
import MartletConfiguration

/// What of a topic `martlet replay` chooses.
struct ReplaySelection {
    let topic: String
    private let from: LogPlace?
    private let until: LogPlace?
    private let key: [UInt8]?
    private let correlation: (header: String, id: [UInt8])?

    init(_ context: CommandContext) throws {
        let invocation = context.invocation
        guard let topic = invocation.value("topic") else {
            throw context.usage("say what to send again: --topic or --plan")
        }
        self.topic = topic
        from = try invocation.value("from").map { try LogPlace(parsing: $0, "--from", context) }
        until = try invocation.value("until").map { try LogPlace(parsing: $0, "--until", context) }
        key = invocation.value("key").map { Array($0.utf8) }
        let header = invocation.value("correlation-header")
        let id = invocation.value("correlation-id").map { Array($0.utf8) }
        if header != nil, id == nil {
            throw context.usage("--correlation-header goes with --correlation-id")
        }
        correlation = id.map { (header ?? "correlation-id", $0) }
    }

    /// Whether records have to be looked at, one by one.
    private var isOfRecords: Bool { key != nil || correlation != nil || time != nil || end != nil }

    /// In milliseconds since 1970.
    private var time: Int64? { Self.time(from) }
    private var end: Int64? { Self.time(until) }

    private static func time(_ place: LogPlace?) -> Int64? {
        switch place {
        case .time(let time): time
        case .earliest, .latest, .offset, .fromEnd, nil: nil
        }
    }

    private func accepts(_ record: ConsumedRecord) -> Bool {
        if let time, record.timestamp < time { return false }
        if let end, record.timestamp >= end { return false }
        if let key, record.keyBytes != key { return false }
        guard let correlation else { return true }
        return record.headers.contains {
            $0.key == correlation.header && $0.value == correlation.id
        }
    }

    /// Adds what is chosen to the plan. What it holds in memory are ranges, not records.
    func fill(
        _ plan: inout RecordReplayPlan, _ client: MartletClient, _ context: CommandContext
    ) async throws {
        let info = try await client.admin.topic(topic)
        let partitions = try context.partitions(of: info) ?? info.allPartitions
        let view = try await LogView.load(client.admin, topic, partitions)
        let starts = try await (from ?? .earliest).offsets(in: view, client.admin)
        // Times need not rise: what is older may come last.
        let last = end == nil ? until ?? .latest : .latest
        let ends = try await last.offsets(in: view, client.admin)
        for place in view.partitions {
            let start = min(max(starts[place.partition] ?? 0, place.earliest), place.latest)
            let end = min(ends[place.partition] ?? 0, place.latest)
            guard start < end else { continue }
            var line = RecordReplayPlan.Line(partition: TopicPartition(topic, place.partition))
            if isOfRecords {
                try await read(start..<end, into: &line, client, context)
            } else {
                line.ranges = [start..<end]
                line.records = end - start
            }
            try plan.add(line)
        }
    }

    /// One partition after the other: each needs its own place in order only.
    private func read(
        _ range: Range<Int64>, into line: inout RecordReplayPlan.Line, _ client: MartletClient,
        _ context: CommandContext
    ) async throws {
        let partition = line.partition
        let output = context.output
        var configuration = ConsumerConfiguration([
            .partition(topic, partition.partition, start: .offset(range.lowerBound))
        ])
        configuration.resetPolicy = .earliest
        try await client.withConsumer(configuration) { consumer in
            let reading = BoundedReading(consumer, ends: [partition: range.upperBound]) { event in
                if let text = TailCommand.describe(event) { output.message("martlet: \(text)") }
            }
            var isNext = false
            try await reading.run { batch in
                for record in batch where record.offset < range.upperBound {
                    let isChosen = accepts(record)
                    if isChosen { line.add(record.offset, isNext: isNext) }
                    isNext = isChosen
                }
                try Task.checkCancellation()
                return line.ranges.count <= RecordReplayPlan.rangesMax
            }
        }
    }
}
