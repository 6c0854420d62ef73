import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// Where a group would go on, partition by partition.
struct GroupResetPlan: GroupPlan {
    struct Line {
        let partition: TopicPartition
        let from: Int64?
        var to: Int64
        var notes: [String] = []

        var change: GroupOffsetChange { GroupOffsetChange(partition, from: from, to: to) }

        mutating func note(_ text: String) { notes.append(text) }
    }

    let group: String
    var lines: [Line]

    /// Plans by the state of group and logs now.
    static func make(
        _ group: GroupDescription, _ target: GroupResetCommand.Target, _ admin: AdminClient
    ) async throws -> GroupResetPlan {
        var parts = target.parts
        if parts.isEmpty {
            let names = Set(group.partitions.map(\.partition.topic)).subtracting([""])
            parts = names.sorted().map { GroupPart($0) }
        }
        var plan = GroupResetPlan(group: group.name, lines: [])
        for part in parts {
            let topic = try await admin.topic(part.topic)
            let partitions =
                try part.partition.map { try [topic.checked($0)] } ?? topic.allPartitions
            let view = try await LogView.load(admin, part.topic, partitions)
            let offsets = try await target.offsets(in: view, group, admin)
            for place in view.partitions {
                plan.add(place, part.topic, offsets[place.partition], group)
            }
        }
        return plan
    }

    private mutating func add(
        _ place: LogView.Place, _ topic: String, _ wanted: Int64?, _ group: GroupDescription
    ) {
        let partition = TopicPartition(topic, place.partition)
        guard let wanted, !lines.contains(where: { $0.partition == partition }) else { return }
        var line = Line(
            partition: partition, from: group.committed(partition),
            to: min(max(wanted, place.earliest), place.latest))
        if wanted < place.earliest { line.note("\(wanted) is below the log's start") }
        if wanted > place.latest { line.note("\(wanted) is above the log's end") }
        lines.append(line)
    }

    /// Says which partitions somebody reads, and what of a queue stays as it is.
    mutating func noteMembers(of group: GroupDescription) {
        let read = Set(
            group.partitions.filter { $0.owner != nil && !$0.isPaused }.map(\.partition))
        let paused = Set(group.partitions.filter(\.isPaused).map(\.partition))
        let queues = Dictionary(
            group.queues.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
        for index in lines.indices {
            let partition = lines[index].partition
            if read.contains(partition) {
                lines[index].note("a member reads it: pause the group, or --force")
            }
            guard let queue = queues[partition] else { continue }
            // What was sent again is in flight as well, and stands in nobody's way.
            if queue.inFlight > 0, !group.members.isEmpty, !paused.contains(partition) {
                lines[index].note(
                    "\(Shown.count(queue.inFlight)) in flight: pause the group, or --force")
            }
            if queue.dead > 0 {
                lines[index].note(Shown.plural(queue.dead, "dead letter", "stays", "stay"))
            }
        }
    }

    // MARK: - Shown and kept

    var table: Table {
        var table = Table([
            .left("TOPIC"), .right("PARTITION"), .right("COMMITTED"), .right("NEW"),
            .right("CHANGE"), .left("NOTE"),
        ])
        for line in lines {
            let change = line.from.map { line.to - $0 }
            table.add([
                line.partition.topic, "\(line.partition.partition)",
                line.from.map { "\($0)" } ?? "never", "\(line.to)",
                change.map { $0 > 0 ? "+\($0)" : "\($0)" } ?? "",
                line.notes.joined(separator: "; "),
            ])
        }
        return table
    }

    func json(isExecuted: Bool) -> JSONValue {
        [
            "group": .string(group), "executed": .boolean(isExecuted),
            "plan": .array(
                lines.map { line in
                    [
                        "topic": .string(line.partition.topic),
                        "partition": JSONValue(line.partition.partition),
                        "from": line.from.map { .integer($0) } ?? .null, "to": .integer(line.to),
                        "notes": .array(line.notes.map { .string($0) }),
                    ]
                }),
        ]
    }

    /// A plan as `json` writes it.
    init(_ bytes: [UInt8]) throws {
        let document = try PlanDocument(bytes)
        group = document.group
        lines = try document.entries.enumerated().map { index, entry in
            guard let topic = entry["topic"]?.stringValue,
                let partition = entry["partition"]?.integerValue.flatMap({ Int32(exactly: $0) }),
                let to = entry["to"]?.integerValue, to >= 0, let from = entry["from"],
                from == .null || (from.integerValue ?? -1) >= 0
            else {
                throw ToolError.usage(
                    "line \(index) of the plan: topic, partition, from (or null) and to are needed")
            }
            return Line(
                partition: TopicPartition(topic, partition), from: from.integerValue, to: to)
        }
    }

    private init(group: String, lines: [Line]) {
        self.group = group
        self.lines = lines
    }
}

extension GroupResetCommand.Target {
    /// The offset that each partition would get.
    fileprivate func offsets(
        in view: LogView, _ group: GroupDescription, _ admin: AdminClient
    ) async throws -> [Int32: Int64] {
        switch place {
        case .to(let place): return try await place.offsets(in: view, admin)
        case .shift(let count):
            var offsets: [Int32: Int64] = [:]
            for place in view.partitions {
                let partition = TopicPartition(view.topic, place.partition)
                guard let committed = group.committed(partition) else {
                    throw ToolError(
                        .refused,
                        "group \(group.name) has committed nothing in partition "
                            + "\(place.partition) of \(view.topic): --shift has nothing to go by")
                }
                let (sum, overflow) = committed.addingReportingOverflow(count)
                offsets[place.partition] = overflow ? (count < 0 ? 0 : .max) : sum
            }
            return offsets
        }
    }
}

extension GroupDescription {
    fileprivate func committed(_ partition: TopicPartition) -> Int64? {
        partitions.first { $0.partition == partition }?.committed
    }
}

extension TopicInfo {
    fileprivate func checked(_ partition: Int32) throws -> Int32 {
        guard Int(partition) < partitions else {
            throw ToolError(
                .notFound,
                "topic \(name) has no partition \(partition), only 0 to \(partitions - 1)")
        }
        return partition
    }
}

/// A small file, or standard input, at once.
enum WholeInput {
    private static let bytesMax: Int64 = 64 << 20

    static func read(_ path: String) async throws -> [UInt8] {
        guard path == "-" else { return try file(path) }
        var bytes: [UInt8] = []
        try await InputPieces().forEach(delimiter: 0x0A) { bytes += $0 + [0x0A] }
        return bytes
    }

    static func file(_ path: String) throws -> [UInt8] {
        let file = try PosixFileSystem().open(path, .readOnly)
        let size = try file.size()
        guard size <= bytesMax else {
            throw ToolError.usage("\(path): \(size) bytes are too many")
        }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        var count = 0
        while count < bytes.count {
            let got = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe file.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer[count...]),
                    at: Int64(count))
            }
            if got == 0 { break }
            count += got
        }
        try file.close()
        return Array(bytes[..<count])
    }
}
