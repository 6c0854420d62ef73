import MartletFormat
@testable import MartletStorage
import MartletSystem
import Synchronization

/// A partition after a start of the engine, and everything that a reader gets from it.
struct Recovered {
    /// What a reader was given, in order.
    enum Served: Hashable, CustomStringConvertible {
        case batch(offset: Int64, bytes: [UInt8])
        case lost(Range<Int64>)
        case damaged(Range<Int64>)
        case gap(Range<Int64>)

        var description: String {
            switch self {
            case .batch(let offset, let bytes): "batch \(offset) of \(bytes.count)"
            case .lost(let range): "lost \(range)"
            case .damaged(let range): "damaged \(range)"
            case .gap(let range): "gap \(range)"
            }
        }
    }

    private let engine: StorageEngine
    private let log: PartitionLog?
    let view: LogView?
    private(set) var served: [Served] = []

    init(_ disk: MemoryFileSystem) {
        var options = StorageOptions(dataDirectory: "/d")
        options.diskReserve = 0
        let executor = InlineExecutor()
        do {
            engine = try StorageEngine.open(
                options, fileSystem: disk, clock: FixedClock(),
                executors: StorageExecutors(
                    flush: [executor], readers: [executor], housekeeping: executor,
                    marks: executor, failure: executor),
                onFatal: { require(false, "fatal: \($0)") })
        } catch {
            fatalError("oracle: a start failed over damaged files: \(error)")
        }
        let topic = engine.topic(named: "t")
        require(topic != nil, "the topic is gone")
        log = topic?.partition(0)
        view = log?.view
        guard let log, log.view.state == .online else { return }
        let view = log.view
        require(view.logStart <= view.highWatermark, "starts behind its end")
        require(view.highWatermark <= view.logEnd, "visible behind its end")
        served = Self.read(log)
    }

    /// Reads everything with verification, and looks at what the quick ways would answer.
    private static func read(_ log: PartitionLog) -> [Served] {
        var served: [Served] = []
        var offset = log.view.logStart
        for _ in 0..<20_000 {
            look(log, offset)
            let next: Int64
            do {
                switch try log.verifiedRead(from: offset, maxBytes: 1 << 14) {
                case .data(let plan):
                    take(plan, offset, &served)
                    next = plan.nextOffset
                case .atEnd(let view):
                    // Compaction may have taken everything up to the end.
                    require(
                        offset == view.highWatermark || hasHoles(log),
                        "ends at \(offset), not at its end: \(view), \(facts(log))")
                    return served
                case .gap(let gap, _):
                    served.append(.gap(gap))
                    require(gap.contains(offset), "a gap elsewhere")
                    next = gap.upperBound
                case .lost(let range, _):
                    served.append(.lost(range))
                    require(range.contains(offset), "lost elsewhere")
                    next = range.upperBound
                case .corrupt(let ranges, _):
                    guard let range = ranges.first(where: { $0.contains(offset) }) else {
                        fatalError("oracle: damage \(ranges) does not name offset \(offset)")
                    }
                    served.append(.damaged(range))
                    next = range.upperBound
                case .outOfRange(let view):
                    // Damage may be named up to behind the end.
                    require(offset > view.highWatermark, "\(offset) is out of range")
                    return served
                case .needsDisk, .needsVerification, .offline:
                    fatalError("oracle: no answer to a verified read at \(offset)")
                }
            } catch {
                fatalError("oracle: a read failed: \(error)")
            }
            require(next > offset, "a reader stays at \(offset)")
            offset = next
        }
        fatalError("oracle: a reader never arrives")
    }

    private static func hasHoles(_ log: PartitionLog) -> Bool {
        log.state.withLock { state in state.segments.contains { $0.generation > 0 } }
    }

    /// What is known of a log, for a message.
    private static func facts(_ log: PartitionLog) -> String {
        log.state.withLock { state in
            let segments = state.segments.map {
                "\($0.base)+\($0.bytes) \(String(describing: $0.end)) \($0.index.withEntries { $0 } ?? [])"
            }
            return "damaged \(state.damaged), visible \(state.visible), segments \(segments)"
        }
    }

    private static func take(_ plan: ReadPlan, _ asked: Int64, _ served: inout [Served]) {
        guard let slab = plan.slab, slab.count > 0 else {
            fatalError("oracle: no bytes from a verified read")
        }
        var at = 0
        var before = Int64.min
        var checksum = plan.startChecksum
        do {
            while at < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: at)
                let range = at..<(at + header.byteCount)
                require(range.upperBound <= slab.count, "a batch is cut")
                try RecordBatch.checkChecksum(slab.span(range), header)
                require(header.nextOffset > asked, "a batch below the asked offset")
                require(header.baseOffset >= before, "offsets fall")
                before = header.nextOffset
                checksum = RecordBatch.prefixChecksum(slab.span(range), continuing: checksum)
                served.append(.batch(offset: header.baseOffset, bytes: Array(slab.array[range])))
                at = range.upperBound
            }
        } catch {
            require(false, "served without verification: \(error)")
        }
        require(checksum == plan.endChecksum, "prefix checksums")
        require(plan.nextOffset == before, "goes on at \(plan.nextOffset), not \(before)")
    }

    /// What a fetch without verification would send must lie in its file.
    private static func look(_ log: PartitionLog, _ offset: Int64) {
        for limit in [1, 100, 1 << 14] {
            check(log.plan(from: offset, maxBytes: limit))
            do {
                check(try log.planFromDisk(from: offset, maxBytes: limit))
            } catch {
                fatalError("oracle: a look-up failed: \(error)")
            }
        }
    }

    private static func check(_ outcome: ReadOutcome) {
        guard case .data(let plan) = outcome, let file = plan.file else { return }
        require(plan.length > 0, "an empty answer")
        let size = (try? file.size()) ?? 0
        require(plan.position >= 0, "position \(plan.position)")
        require(plan.position + Int64(plan.length) <= size, "an answer behind the file's end")
    }

    func compare(_ other: Recovered, _ what: String) {
        require(view?.state == other.view?.state, "\(what): state")
        require(view?.logStart == other.view?.logStart, "\(what): start")
        // After a clean stop a reserved block is used up; the next start, an unclean one, passes it.
        if other.appended == nil, !other.isClean {
            require(
                view?.logEnd == other.view?.logEnd,
                "\(what): end \(view as Any), before it was \(other.view as Any)")
            require(served == other.served, Self.difference(what, served, other.served))
        } else {
            // A gap at the end is named on its own only until something follows it.
            require(
                batches.starts(with: other.batches), Self.difference(what, served, other.served))
        }
    }

    private var isClean: Bool { engine.startReport.isClean }

    private var batches: [Served] {
        served.filter { if case .batch = $0 { true } else { false } }
    }

    private static func difference(_ what: String, _ now: [Served], _ before: [Served]) -> String {
        func list(_ served: [Served]) -> String { served.map(\.description).joined(separator: ", ") }
        return "\(what) serves \(list(now)); before it was \(list(before))"
    }

    fileprivate(set) var appended: Served?

    /// Appends a batch; nil when the log takes none. It must be durable and served at once.
    mutating func append() -> Served? {
        guard let log, let view, view.state == .online else { return nil }
        let slab = ByteSlab(capacity: 256)
        let batch = Samples.batch(["after"], key: "new", time: 1_700_000_000_000)
        slab.append(batch.span.bytes)
        do {
            let header = try RecordBatch.validateForAppend(slab.bytes)
            let probe = Probe()
            for _ in 0..<8 {
                switch log.append(slab, 0..<slab.count, header, retry: probe) {
                case .later: continue
                case .refused: return nil
                case .duplicate: fatalError("oracle: a duplicate without a producer")
                case .appended(let receipt):
                    require(receipt.baseOffset >= view.logEnd, "an offset is given twice")
                    log.whenDurable(receipt.endOffset, probe)
                    require(probe.isDurable, "an append is never durable")
                    let served = Served.batch(offset: receipt.baseOffset, bytes: slab.array)
                    let all = Self.read(log)
                    require(
                        all.contains(served),
                        "appended \(served) is not served: \(all), \(Self.facts(log))")
                    appended = served
                    return served
                }
            }
        } catch {
            require(false, "a good batch is refused: \(error)")
        }
        return nil
    }

    private final class Probe: AppendRetry, DurabilityWaiter {
        private let durable = Mutex(false)
        var isDurable: Bool { durable.withLock { $0 } }
        func retryAppend(_ log: PartitionLog) {}
        func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) {
            durable.withLock { $0 = failure == nil }
        }
    }
}
