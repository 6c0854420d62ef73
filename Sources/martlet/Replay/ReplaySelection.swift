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
    ///
    /// - Parameter open: what the group has not handled; it is left out unless the plan has it, too.
    func fill(
        _ plan: inout RecordReplayPlan, _ open: OpenRecords, _ client: MartletClient,
        _ context: CommandContext
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
                var choice = Choice(open.cursor(of: line.partition), plan.hasUnhandled)
                try await read(start..<end, &choice, into: &line, client, context)
            } else {
                let division = open.divide(start..<end, of: line.partition)
                line.unhandled = division.open
                line.ranges = plan.hasUnhandled ? [start..<end] : division.handled
                line.records = line.ranges.reduce(0) { $0 + Int64($1.count) }
            }
            try plan.add(line)
        }
    }

    /// What becomes of a record that was chosen.
    private struct Choice {
        private var open: OpenRecords.Cursor
        private let hasUnhandled: Bool

        init(_ open: OpenRecords.Cursor, _ hasUnhandled: Bool) {
            (self.open, self.hasUnhandled) = (open, hasUnhandled)
        }

        /// Counts it. True: it is part of the plan.
        mutating func takes(_ offset: Int64, _ line: inout RecordReplayPlan.Line) -> Bool {
            guard open.isOpen(offset) else { return true }
            line.unhandled += 1
            return hasUnhandled
        }
    }

    /// One partition after the other: each needs its own place in order only.
    private func read(
        _ range: Range<Int64>, _ choice: inout Choice, into line: inout RecordReplayPlan.Line,
        _ client: MartletClient,
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
                    let isChosen = accepts(record) && choice.takes(record.offset, &line)
                    if isChosen { line.add(record.offset, isNext: isNext) }
                    isNext = isChosen
                }
                try Task.checkCancellation()
                return line.ranges.count <= RecordReplayPlan.rangesMax
            }
        }
    }
}
