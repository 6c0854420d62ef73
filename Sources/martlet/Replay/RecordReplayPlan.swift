import MartletClient
import MartletJSON

/// Which records of which partitions a group would be sent again.
struct RecordReplayPlan: GroupPlan {
    struct Line {
        let partition: TopicPartition
        var ranges: [Range<Int64>] = []
        var records: Int64 = 0
        /// Of what was chosen, records that the group has not handled: among `records` only when
        /// the plan has them.
        var unhandled: Int64 = 0
    }

    /// What a broker takes of a partition.
    static let rangesMax = 100_000

    let group: String
    /// In order of their partitions; none is empty.
    private(set) var lines: [Line] = []
    /// How many were sent; nil: none yet.
    var sent: Int64?
    /// Of what was chosen, records that the group has not handled: its flow brings them anyway.
    private(set) var unhandled: Int64 = 0
    /// Whether these are sent as well.
    var hasUnhandled = false

    init(group: String) {
        self.group = group
    }

    var records: Int64 { lines.reduce(0) { $0 &+ $1.records } }

    var ranges: [TopicPartition: [Range<Int64>]] {
        Dictionary(
            lines.map { ($0.partition, $0.ranges) }, uniquingKeysWith: { first, _ in first })
    }

    mutating func add(_ line: Line) throws {
        unhandled &+= line.unhandled
        guard !line.ranges.isEmpty else { return }
        guard line.ranges.count <= Self.rangesMax else {
            throw ToolError.usage(
                "what is chosen of \(line.partition) lies in \(line.ranges.count) places: more than "
                    + "\(Self.rangesMax) are not sent at once; choose less by --from and --until")
        }
        let index = lines.firstIndex { line.partition < $0.partition } ?? lines.count
        lines.insert(line, at: index)
    }

    // MARK: - Shown and kept

    var table: Table {
        var table = Table([
            .left("TOPIC"), .right("PARTITION"), .right("RECORDS"), .right("RANGES"),
            .right("FIRST"), .right("LAST"), .right("UNHANDLED"),
        ])
        for line in lines {
            guard let first = line.ranges.first, let last = line.ranges.last else { continue }
            table.add([
                line.partition.topic, "\(line.partition.partition)", "\(line.records)",
                "\(line.ranges.count)", "\(first.lowerBound)", "\(last.upperBound - 1)",
                "\(line.unhandled)",
            ])
        }
        return table
    }

    var json: JSONValue {
        [
            "group": .string(group), "executed": .boolean(sent != nil),
            "records": .integer(records), "sent": sent.map { .integer($0) } ?? .null,
            "unhandled": .integer(unhandled), "hasUnhandled": .boolean(hasUnhandled),
            "plan": .array(
                lines.map { line in
                    [
                        "topic": .string(line.partition.topic),
                        "partition": JSONValue(line.partition.partition),
                        "records": .integer(line.records),
                        "unhandled": .integer(line.unhandled),
                        "ranges": .array(line.ranges.map(RangeJSON.value)),
                    ]
                }),
        ]
    }

    /// Looks again at what of a plan that was kept is not handled by now. It stays as it is.
    mutating func count(_ open: OpenRecords) {
        for index in lines.indices {
            let line = lines[index]
            lines[index].unhandled = line.ranges.reduce(0) {
                $0 &+ open.divide($1, of: line.partition).open
            }
        }
        unhandled = lines.reduce(0) { $0 &+ $1.unhandled }
        hasUnhandled = true
    }

    /// A plan as `json` writes it.
    init(_ bytes: [UInt8]) throws {
        let document = try PlanDocument(bytes)
        group = document.group
        for (index, entry) in document.entries.enumerated() {
            guard let line = Line(entry), !lines.contains(where: { $0.partition == line.partition })
            else {
                throw ToolError.usage(
                    "line \(index) of the plan: topic, partition (each once), records and ranges "
                        + "(from, to; in order) are needed")
            }
            try add(line)
        }
    }
}

extension RecordReplayPlan.Line {
    fileprivate init?(_ entry: JSONValue) {
        guard let topic = entry["topic"]?.stringValue,
            let number = entry["partition"]?.integerValue.flatMap({ Int32(exactly: $0) }),
            number >= 0, let records = entry["records"]?.integerValue, records >= 0,
            let ranges = entry["ranges"]?.arrayValue
        else { return nil }
        self.init(partition: TopicPartition(topic, number))
        self.records = records
        var end: Int64 = 0
        for range in ranges {
            guard let from = range["from"]?.integerValue, let to = range["to"]?.integerValue,
                end <= from, from < to
            else { return nil }
            self.ranges.append(from..<to)
            end = to
        }
    }

    /// Takes a record that was chosen. `isNext`: no record that was not chosen lies between it and
    /// the one before.
    mutating func add(_ offset: Int64, isNext: Bool) {
        records += 1
        if isNext, let last = ranges.last {
            ranges[ranges.count - 1] = last.lowerBound..<offset + 1
        } else {
            ranges.append(offset..<offset + 1)
        }
    }
}
