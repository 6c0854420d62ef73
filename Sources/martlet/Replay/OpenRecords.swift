import MartletClient

/// Which offsets of a topic a group has not handled yet: its flow is to bring them, so that sent again
/// they would be handled twice, maybe at once.
///
/// What cannot be told counts as not handled. What comes after it was asked for is not handled, too.
struct OpenRecords {
    /// In order, apart from each other. Partitions that the group does not read have none.
    private let ranges: [TopicPartition: [Range<Int64>]]

    init(_ ranges: [TopicPartition: [Range<Int64>]]) {
        self.ranges = ranges
    }

    /// As its description has it; of a queue also by the list of what it owes.
    init(of group: GroupDescription, _ topics: Set<String>, _ client: MartletClient) async throws {
        var ranges: [TopicPartition: [Range<Int64>]] = [:]
        for line in group.partitions where topics.contains(line.partition.topic) {
            ranges[line.partition] = Self.open(line)
        }
        let queues = group.queues.filter { topics.contains($0.partition.topic) }
        if group.kind != .stream, !queues.isEmpty {
            var owed: [TopicPartition: [Range<Int64>]] = [:]
            for topic in Set(queues.map(\.partition.topic)) {
                let records = try await client.admin.queueRecords(of: group.name, topic: topic)
                for entry in records where !entry.isReplay {
                    owed[entry.partition, default: []].append(entry.offsets)
                }
            }
            for queue in queues {
                let news = (queue.highWatermark ?? queue.floor)..<Int64.max
                ranges[queue.partition] = Self.union(owed[queue.partition, default: []] + [news])
            }
        }
        self.init(ranges)
    }

    /// Of a stream's partition: above its commit, without what is finished there.
    private static func open(_ line: GroupPartitionInfo) -> [Range<Int64>] {
        guard let committed = line.committed else {
            // Never committed: all of it is to come, or nothing where it begins at the end.
            let isAtEnd = line.lag == 0
            return [(isAtEnd ? line.highWatermark ?? 0 : 0)..<Int64.max]
        }
        return above(committed, without: line.finished)
    }

    static func above(_ committed: Int64, without finished: [Range<Int64>]) -> [Range<Int64>] {
        without(finished, from: committed..<Int64.max)
    }

    /// Divides offsets of a partition into those that are handled, and how many others there are.
    func divide(_ range: Range<Int64>, of partition: TopicPartition) -> Division {
        let open = ranges[partition, default: []]
        let handled = Self.without(open, from: range)
        return Division(
            handled: handled, open: handled.reduce(Int64(range.count)) { $0 - Int64($1.count) })
    }

    struct Division {
        let handled: [Range<Int64>]
        let open: Int64
    }

    /// Tells of offsets that rise whether each is not handled.
    func cursor(of partition: TopicPartition) -> Cursor {
        Cursor(ranges: ranges[partition, default: []][...])
    }

    struct Cursor {
        fileprivate var ranges: ArraySlice<Range<Int64>>

        mutating func isOpen(_ offset: Int64) -> Bool {
            while let first = ranges.first, first.upperBound <= offset { ranges.removeFirst() }
            return ranges.first?.contains(offset) ?? false
        }
    }

    /// `whole` without what `holes`, which are in order, cover.
    private static func without(
        _ holes: [Range<Int64>], from whole: Range<Int64>
    ) -> [Range<Int64>] {
        var left: [Range<Int64>] = []
        var start = whole.lowerBound
        for hole in holes {
            let hole = hole.clamped(to: whole)
            if hole.isEmpty { continue }
            if start < hole.lowerBound { left.append(start..<hole.lowerBound) }
            start = max(start, hole.upperBound)
        }
        if start < whole.upperBound { left.append(start..<whole.upperBound) }
        return left
    }

    /// The same offsets in order and apart: pages of a group at work may overlap.
    private static func union(_ ranges: [Range<Int64>]) -> [Range<Int64>] {
        var joined: [Range<Int64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = joined.last, range.lowerBound <= last.upperBound {
                joined[joined.count - 1] =
                    last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        return joined
    }
}
