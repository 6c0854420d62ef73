import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletWire
import Synchronization

/// How far groups are behind, from one read of each partition: in records, in time, and in what is
/// left until retention takes what they have not handled.
final class GroupLag: Sendable {
    /// An offset that a group has not come past, and the best that was ever known of its time.
    private struct Waiting {
        var offset: Int64
        var appendedBy: Int64
    }

    private struct Place: Hashable {
        let group: String
        let partition: TopicPartition
    }

    /// Beyond so many partitions with lag what was known is let go of; it is learned again.
    private static let placesMax = 200_000

    let engine: StorageEngine
    private let clock: any Clock
    /// The log knows the times of its newest places best. A group that stands still is looked at
    /// again and again, so what was known once stays.
    private let waiting = Mutex<[Place: Waiting]>([:])

    init(_ engine: StorageEngine, _ clock: any Clock) {
        self.engine = engine
        self.clock = clock
    }

    var wallMilliseconds: Int64 { clock.wallMilliseconds() }

    /// A partition as the group has it, with what is in its log now. The commit was read before the
    /// log, which only grows, so the lag is never below 0.
    ///
    /// With `mayBlock` the index is read when it is not in memory.
    func line(
        _ group: String, _ partition: GroupDescription.PartitionLine, mayBlock: Bool
    ) -> GroupPartitionLine {
        let key = partition.partition
        var line = GroupPartitionLine(partition)
        guard let topic = engine.topic(id: key.topic), let log = topic.partition(key.partition)
        else { return line }
        let view = log.view
        line.logStart = view.logStart
        line.highWatermark = view.highWatermark
        line.lag = partition.beginsAtEnd ? 0 : Self.records(partition.committed, view)
        let place = Place(group: group, partition: key)
        guard line.lag > 0 else {
            waiting.withLock { $0[place] = nil }
            line.lagMilliseconds = 0
            return line
        }
        let oldest = Self.oldest(partition.committed, view)
        guard let standing = standing(of: oldest, log, topic.settings, mayBlock: mayBlock) else {
            return line
        }
        line.headroomMilliseconds = standing.headroomMilliseconds ?? -1
        line.headroomBytes = standing.headroomBytes ?? -1
        if let time = remember(standing.appendedBy, of: oldest, at: place) {
            line.lagMilliseconds = max(0, clock.wallMilliseconds() - time)
        }
        return line
    }

    /// All partitions of a group together: the sum of records, the longest time, the least headroom.
    static func total(_ lines: [GroupPartitionLine]) -> GroupLagTotal {
        var total = GroupLagTotal()
        for line in lines {
            total.records += max(0, line.lag)
            total.milliseconds = max(total.milliseconds, line.lagMilliseconds)
            total.headroomMilliseconds = least(
                total.headroomMilliseconds, line.headroomMilliseconds)
            total.headroomBytes = least(total.headroomBytes, line.headroomBytes)
        }
        return total
    }

    /// Forgets groups that are not there any more.
    func keep(_ groups: [GroupDescription]) {
        let names = Set(groups.map(\.name))
        waiting.withLock { waiting in
            waiting = waiting.filter { names.contains($0.key.group) }
        }
    }

    /// The smaller of two numbers of which -1 stands for none.
    private static func least(_ a: Int64, _ b: Int64) -> Int64 {
        a < 0 ? b : b < 0 ? a : min(a, b)
    }

    private func standing(
        of offset: Int64, _ log: PartitionLog, _ settings: TopicSettings, mayBlock: Bool
    ) -> RecordStanding? {
        guard mayBlock else { return log.standing(of: offset, settings) }
        do throws(StorageError) {
            return try log.standingFromDisk(of: offset, settings)
        } catch {
            return log.standing(of: offset, settings)  // what is in memory says less, not nothing
        }
    }

    private func remember(_ time: Int64?, of offset: Int64, at place: Place) -> Int64? {
        waiting.withLock { waiting in
            let known = waiting[place].flatMap { $0.offset == offset ? $0.appendedBy : nil }
            guard let best = [known, time].compactMap(\.self).min() else { return nil }
            if waiting.count >= Self.placesMax { waiting.removeAll() }
            waiting[place] = Waiting(offset: offset, appendedBy: best)
            return best
        }
    }

    /// Visible records that the group has not handled. What was never committed lags from the log's
    /// start.
    private static func records(_ committed: CommittedOffset?, _ view: LogView) -> Int64 {
        let from = max(committed?.offset ?? 0, view.logStart)
        guard from < view.highWatermark else { return 0 }
        let visible = from..<view.highWatermark
        let passed = passed(committed, view).reduce(0) { $0 + Int64($1.clamped(to: visible).count) }
        return max(0, Int64(visible.count) - passed)
    }

    /// The first offset that the group has not handled and that can be read.
    private static func oldest(_ committed: CommittedOffset?, _ view: LogView) -> Int64 {
        var offset = max(committed?.offset ?? 0, view.logStart)
        for range in passed(committed, view) where range.contains(offset) {
            offset = range.upperBound
        }
        return offset
    }

    /// What the group has nothing to do with above its commit: finished, or offsets that no record
    /// has. In order.
    private static func passed(_ committed: CommittedOffset?, _ view: LogView) -> [Range<Int64>] {
        let finished = committed?.finished ?? []
        let vacant = view.vacant
        guard !vacant.isEmpty else { return finished }
        return (finished + vacant).sorted { $0.lowerBound < $1.lowerBound }.joined()
    }
}

/// How far a group is behind in several partitions; -1 for what is not known, or never comes.
struct GroupLagTotal {
    var records: Int64 = 0
    var milliseconds: Int64 = 0
    var headroomMilliseconds: Int64 = -1
    var headroomBytes: Int64 = -1
}

extension GroupPartitionLine {
    /// What the coordinator knows of a partition.
    init(_ partition: GroupDescription.PartitionLine) {
        self.init()
        let key = partition.partition
        owned = OwnedPartition(
            topic: key.topic, partition: key.partition, epoch: partition.epoch)
        hasOwner = partition.owner != nil
        owner = partition.owner?.bits ?? .zero
        isLeaving = partition.isLeaving
        isPaused = partition.isPaused
        failing = partition.failing
        parked = partition.parked
        if let committed = partition.committed {
            self.committed = CommittedPosition(committed)
            // Of a queue, which has no time of a commit, there may be any number.
            let most = committed.at < 0 ? WireLimits.rangesMax : WireLimits.finishedMax
            self.committed.finished = Array(self.committed.finished.prefix(most))
            committedAt = committed.at
        }
    }
}
