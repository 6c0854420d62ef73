import MartletClient

/// Which offsets of a topic a group has not handled yet: its flow is to bring them, so that sent again
/// they would be handled twice, maybe at once.
///
/// What cannot be told counts as not handled. What comes after it was asked for is not handled, too.
struct OpenRecords {
    /// Partitions that the group does not read have none.
    private let ranges: [TopicPartition: RangeSet<Int64>]

    init(_ ranges: [TopicPartition: RangeSet<Int64>]) {
        self.ranges = ranges
    }

    /// As its description has it; of a queue also by the list of what it owes.
    init(of group: GroupDescription, _ topics: Set<String>, _ client: MartletClient) async throws {
        var ranges: [TopicPartition: RangeSet<Int64>] = [:]
        for line in group.partitions where topics.contains(line.partition.topic) {
            ranges[line.partition] = Self.open(line)
        }
        let queues = group.queues.filter { topics.contains($0.partition.topic) }
        if group.kind != .stream, !queues.isEmpty {
            var owed: [TopicPartition: RangeSet<Int64>] = [:]
            for topic in Set(queues.map(\.partition.topic)) {
                let records = try await client.admin.queueRecords(of: group.name, topic: topic)
                for entry in records where !entry.isReplay {
                    // Pages of a group at work may overlap.
                    owed[entry.partition, default: RangeSet()].insert(contentsOf: entry.offsets)
                }
            }
            for queue in queues {
                let news = (queue.highWatermark ?? queue.floor)..<Int64.max
                ranges[queue.partition] = owed[queue.partition, default: RangeSet()]
                ranges[queue.partition]?.insert(contentsOf: news)
            }
        }
        self.init(ranges)
    }

    /// Of a stream's partition: above its commit, without what is finished there.
    private static func open(_ line: GroupPartitionInfo) -> RangeSet<Int64> {
        guard let committed = line.committed else {
            // Never committed: all of it is to come, or nothing where it begins at the end.
            let isAtEnd = line.lag == 0
            return RangeSet((isAtEnd ? line.highWatermark ?? 0 : 0)..<Int64.max)
        }
        return above(committed, without: line.finished)
    }

    static func above(_ committed: Int64, without finished: [Range<Int64>]) -> RangeSet<Int64> {
        RangeSet(committed..<Int64.max).subtracting(RangeSet(finished))
    }

    /// Divides offsets of a partition into those that are handled, and how many others there are.
    func divide(_ range: Range<Int64>, of partition: TopicPartition) -> Division {
        let open = ranges[partition, default: RangeSet()]
        let handled = Array(RangeSet(range).subtracting(open).ranges)
        return Division(
            handled: handled, open: handled.reduce(Int64(range.count)) { $0 - Int64($1.count) })
    }

    struct Division {
        let handled: [Range<Int64>]
        let open: Int64
    }

    /// Tells of offsets that rise whether each is not handled.
    func cursor(of partition: TopicPartition) -> Cursor {
        Cursor(ranges: Array(ranges[partition, default: RangeSet()].ranges)[...])
    }

    struct Cursor {
        fileprivate var ranges: ArraySlice<Range<Int64>>

        mutating func isOpen(_ offset: Int64) -> Bool {
            while let first = ranges.first, first.upperBound <= offset { ranges.removeFirst() }
            return ranges.first?.contains(offset) ?? false
        }
    }
}
