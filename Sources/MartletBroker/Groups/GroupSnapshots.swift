import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// Snapshots of one partition of `$groups`, so that a start reads what is, and not all that ever
/// happened. They are records of the same partition of `$group-snapshots`: one that begins, the
/// state, and one that ends and says which offset the state covers. So they are checked, backed up
/// and cut off after a crash like everything else.
///
/// The last but one stays with the records behind it: rot in the newest costs no state.
final class GroupSnapshots: AppendRetry, Sendable {
    static let topicName = "$group-snapshots"

    /// A snapshot on its way into the log.
    private struct Writing {
        var batches: [[GroupEntry]]
        let covers: Int64
        /// Where its own log ended before it.
        var begin: Int64?
        let covered: Covered
    }

    /// From where a start would have to read.
    struct Covered: Sendable {
        /// Offset of `$groups`.
        var offset: Int64
        /// Offset of the snapshot itself.
        var begin: Int64
    }

    private struct State {
        var writing: Writing?
        var newest: Covered
        var isStopped = false
    }

    private let groups: PartitionLog
    private let log: PartitionLog
    private let clock: any Clock
    /// Does what waits for the disk.
    private let disk: any Executor
    private let logger: Logger
    private let state: Mutex<State>

    init(
        groups: PartitionLog, log: PartitionLog, newest: Covered, clock: any Clock,
        disk: any Executor, logger: Logger
    ) {
        self.groups = groups
        self.log = log
        self.clock = clock
        self.disk = disk
        self.logger = logger
        state = Mutex(State(newest: newest))
    }

    /// Begins a snapshot of a state that covers everything below `offset`; nothing while one is
    /// under way, nor of a state that is older than the newest: what that one covers may be gone from
    /// `$groups`. Any thread.
    func write(_ coordinator: Coordinator, covering offset: Int64) {
        let isFree = state.withLock { state in
            guard state.writing == nil, !state.isStopped, offset > state.newest.offset else {
                return false
            }
            state.writing = Writing(
                batches: [], covers: offset, begin: nil, covered: state.newest)
            return true
        }
        guard isFree else { return }
        // A power cut must not take records that the snapshot has: offsets would be given again
        // below what it covers.
        groups.whenDurable(
            offset,
            WhenDurable { [self] failure in
                guard failure == nil else { return abandon() }
                disk.execute { [self] in begin(coordinator.snapshot(), offset) }
            })
    }

    private func begin(_ records: [GroupRecord], _ offset: Int64) {
        var entries = [GroupEntry(.snapshotBegins)]
        entries += records.map { GroupEntry($0) }
        entries.append(GroupEntry(.snapshotEnds, covers: offset))
        do throws(WireError) {
            let batches = try GroupBatch.parts(entries)
            state.withLock { $0.writing?.batches = batches.reversed() }
        } catch {
            return fail(error.description)
        }
        advance()
    }

    /// Nothing is begun any more; what `disk` has begun ends with its job.
    func stop() { state.withLock { $0.isStopped = true } }

    /// Appends what is left of the snapshot, as far as the log takes it.
    private func advance() {
        while let batch = state.withLock({ $0.isStopped ? nil : $0.writing?.batches.last }) {
            do throws(WireError) {
                let (slab, header) = try InternalBatch.encode(batch, time: clock.wallMilliseconds())
                switch log.append(slab, 0..<slab.count, header, retry: self) {
                case .appended(let receipt), .duplicate(let receipt):
                    let isLast = state.withLock { state in
                        state.writing?.batches.removeLast()
                        if state.writing?.begin == nil {
                            state.writing?.begin = receipt.baseOffset
                        }
                        return state.writing?.batches.isEmpty ?? false
                    }
                    if isLast { return finish(receipt.endOffset) }
                case .later: return
                case .refused(let refusal):
                    return fail(StorageErrors.refusal(refusal).text)
                }
            } catch {
                return fail(error.description)
            }
        }
    }

    func retryAppend(_ log: PartitionLog) {
        disk.execute { self.advance() }
    }

    /// Once the snapshot is durable, what lies below the one before it goes.
    private func finish(_ end: Int64) {
        log.whenDurable(
            end,
            WhenDurable { [self] failure in
                guard failure == nil else { return abandon() }
                disk.execute { [self] in
                    let old = state.withLock { state -> Covered? in
                        guard let writing = state.writing, let begin = writing.begin else {
                            return nil
                        }
                        state.writing = nil
                        state.newest = Covered(offset: writing.covers, begin: begin)
                        return writing.covered
                    }
                    if let old { remove(below: old) }
                }
            })
    }

    private func remove(below old: Covered) {
        do throws(StorageError) {
            if groups.view.logStart < old.offset {
                _ = try groups.deleteRecords(before: old.offset)
            }
            if log.view.logStart < old.begin { _ = try log.deleteRecords(before: old.begin) }
        } catch {
            fail(error.message)
        }
    }

    /// The next one is tried in its turn; until then a start reads more.
    private func fail(_ reason: String) {
        abandon()
        logger.warning(
            "GROUP_SNAPSHOT_FAILED", "a snapshot of groups was not written: \(reason)",
            [("partition", LogValue(Int64(groups.partition)))])
    }

    private func abandon() {
        state.withLock { $0.writing = nil }
    }
}

extension GroupSnapshots {
    /// The state that the newest whole snapshot holds, and what it covers.
    struct Loaded {
        var coordinator: Coordinator
        var covered: Covered
    }

    /// Reads the newest snapshot that is whole. Blocks.
    static func load(
        _ reader: InternalLog, empty: Coordinator, groupsStart: Int64
    ) throws(StorageError) -> Loaded {
        var loaded = Loaded(
            coordinator: empty,
            covered: Covered(offset: groupsStart, begin: reader.log.view.logStart))
        var pending: (coordinator: Coordinator, begin: Int64)?
        var next: Int64 = -1
        try reader.readAll { slab, place, offset throws(WireError) in
            let entry = try GroupEntry(reading: slab, place)
            // Damage took something out of the middle: what is left is no state.
            if offset != next { pending = nil }
            next = offset + 1
            switch entry.kind {
            case GroupEntry.Kind.snapshotBegins.rawValue: pending = (empty, offset)
            case GroupEntry.Kind.snapshotEnds.rawValue:
                guard let whole = pending else { return }
                loaded = Loaded(
                    coordinator: whole.coordinator,
                    covered: Covered(offset: entry.covers, begin: whole.begin))
                pending = nil
            default:
                if let record = entry.record { pending?.coordinator.replay(record) }
            }
        }
        return loaded
    }
}
