import MartletFormat
import MartletStorage
import MartletWire

/// Retention is near what a group has not handled of a topic.
struct Headroom: Equatable {
    enum Level: Int, Comparable {
        case low
        case critical

        static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
    }

    enum Cause: String {
        case age
        case size
    }

    private struct Shortage {
        let level: Level
        let cause: Cause
        let left: Int64
    }

    /// As the alert rules have it when nobody says otherwise.
    private static let milliseconds = (low: Int64(12 * 3_600_000), critical: Int64(3_600_000))
    /// By size: what is left of `retention.bytes`, as one part of so many.
    private static let parts = (low: Int64(10), critical: Int64(100))

    let topic: TopicID
    let level: Level
    let cause: Cause
    /// Milliseconds, or bytes, until retention may take the first of it; 0: it may take it now.
    let left: Int64
    /// Where it is near.
    let partitions: [Int32]
    /// That wait there.
    let records: Int64

    /// nil: there is enough everywhere.
    /// - Parameters:
    ///   - lines: Of one group and one topic.
    ///   - retentionBytes: Of the topic; -1: without a limit.
    init?(_ lines: [GroupPartitionLine], retentionBytes: Int64) {
        let short = lines.compactMap { line in
            Self.shortage(line, retentionBytes).map { (line, $0) }
        }
        guard let worst = short.map(\.1).min(by: Self.isWorse), let topic = lines.first?.owned.topic
        else { return nil }
        self.topic = topic
        (level, cause, left) = (worst.level, worst.cause, worst.left)
        partitions = short.map(\.0.owned.partition)
        records = short.reduce(0) { $0 + max(0, $1.0.lag) }
    }

    private static func isWorse(_ a: Shortage, _ b: Shortage) -> Bool {
        if a.level != b.level { return a.level > b.level }
        if a.cause != b.cause { return a.cause == .age }
        return a.left < b.left
    }

    private static func shortage(
        _ line: GroupPartitionLine, _ retentionBytes: Int64
    ) -> Shortage? {
        [byAge(line), bySize(line, retentionBytes)].compactMap(\.self).min(by: isWorse)
    }

    /// A group that keeps up has no more time than its topic's retention, and is not meant.
    private static func byAge(_ line: GroupPartitionLine) -> Shortage? {
        let left = line.headroomMilliseconds
        guard (0..<milliseconds.low).contains(left), left <= line.lagMilliseconds else {
            return nil
        }
        return Shortage(
            level: left < milliseconds.critical ? .critical : .low, cause: .age, left: left)
    }

    private static func bySize(_ line: GroupPartitionLine, _ retentionBytes: Int64) -> Shortage? {
        let left = line.headroomBytes
        guard retentionBytes > 0, left >= 0, left < retentionBytes / parts.low else { return nil }
        return Shortage(
            level: left < retentionBytes / parts.critical ? .critical : .low, cause: .size,
            left: left)
    }
}

extension GroupLag {
    /// Topics of a group with too little headroom, in the order of their ids.
    func shortages(_ lines: [GroupPartitionLine]) -> [Headroom] {
        Dictionary(grouping: lines, by: \.owned.topic).sorted { $0.key < $1.key }.compactMap {
            topic, lines in
            let settings = engine.topic(id: topic)?.settings
            return Headroom(lines, retentionBytes: settings?.retentionBytes ?? -1)
        }
    }
}
