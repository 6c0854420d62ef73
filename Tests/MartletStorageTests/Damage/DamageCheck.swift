import MartletFormat
import MartletTestSupport

@testable import MartletStorage

/// What a damage may cost.
struct DamageLimits {
    /// Offsets that may be missing; each must be told to readers, or by the start.
    var lost: [LogName: Range<Int64>] = [:]
    /// These topics may be refused as a whole.
    var offline: Set<TopicID> = []
    /// What a crash can take anyway: bytes above the last mark end the log there.
    var mayEnd = false
    /// Records that were deleted may be seen again: the mark that said so is gone.
    var mayReturn = false
}

/// Starts on a damaged disk, reads everything as a client does, and judges.
struct DamageCheck {
    let base: DamageBase
    let damage: Damage
    let limits: DamageLimits
    private(set) var violations: [String] = []

    init(_ base: DamageBase, _ damage: Damage, _ limits: DamageLimits) {
        self.base = base
        self.damage = damage
        self.limits = limits
    }

    private mutating func violate(_ text: String) {
        let state = base.isClean ? "stopped" : "killed"
        violations.append("\(state), \(damage): \(text)")
    }

    mutating func run(_ state: DiskState, number: Int) {
        let disk = CrashDisk(state)
        let harness: StorageHarness
        do {
            harness = try DamageBase.open(disk)
        } catch {
            violate("start: \(error)")
            return
        }
        keepsBytes(state, disk.disk)
        // Retention and compaction must not make damage look sound.
        if number % 2 == 1 { harness.engine.tick() }
        for name in base.logs.keys.sorted() { check(name, harness) }
        for name in base.logs.keys.sorted() { write(name, harness) }
        guard number % 5 == 0, violations.isEmpty else { return }
        disk.unlockAll()
        do {
            let again = try DamageBase.open(disk)
            for name in base.logs.keys.sorted() { check(name, again, isSecond: true) }
        } catch {
            violate("second start: \(error)")
        }
    }

    // MARK: reading

    private mutating func check(_ name: LogName, _ harness: StorageHarness, isSecond: Bool = false)
    {
        guard let known = base.logs[name] else { return }
        let report = harness.engine.startReport
        let topic = harness.engine.topic(id: name.topic)
        guard let topic, topic.isOnline, let log = topic.partition(name.partition) else {
            let isTold = report.events.contains { $0.kind == .offline }
            if !limits.offline.contains(name.topic) || !isTold || topic == nil {
                violate("\(name) is not there: \(topic?.offlineReason?.text ?? "unknown")")
            }
            return
        }
        var reader = DamageReader(log, isCompacted: name.topic == DamageBase.compacted)
        reader.run(from: 0)
        if let offline = reader.offline {
            if !limits.offline.contains(name.topic) { violate("\(name) is offline: \(offline)") }
            return
        }
        for problem in reader.problems { violate("\(name): \(problem)") }
        content(name, known, reader)
        var told = reader.told
        if !isSecond { told += report.events.compactMap { Self.told($0, topic.name, name) } }
        missing(name, known, reader, isSecond ? [0..<Int64.max] : told)
    }

    /// What the start itself reported of a partition.
    private static func told(
        _ event: RecoveryEvent, _ topic: String, _ name: LogName
    ) -> Range<Int64>? {
        guard event.topic == topic, event.partition == name.partition else { return nil }
        switch event.kind {
        case .damage, .gap, .removed: return max(0, event.from)..<max(event.to, event.from + 1, 1)
        case .tornTail: return max(0, event.from)..<Int64.max
        case .keptAboveMark, .readOnly, .offline, .stranger, .tidied, .marks: return nil
        }
    }

    /// Nothing that was not written is handed over, nothing twice, nothing out of order.
    private mutating func content(_ name: LogName, _ known: DamageBase.Log, _ reader: DamageReader)
    {
        var last: Int64 = -1
        for (offset, value) in reader.records {
            if offset <= last { violate("\(name): offset \(offset) behind \(last)") }
            last = offset
            if let right = known.values[offset], right != value {
                violate("\(name) offset \(offset): WRONG RECORD \(short(value))")
            } else if known.values[offset] == nil, !value.hasPrefix("new"),
                known.batches.last?.values.contains(value) != true
            {
                violate("\(name) offset \(offset): no such record: \(short(value))")
            }
            if known.gone.contains(offset), !limits.mayReturn {
                violate("\(name) offset \(offset) was deleted and is back")
            }
        }
    }

    private mutating func missing(
        _ name: LogName, _ known: DamageBase.Log, _ reader: DamageReader, _ told: [Range<Int64>]
    ) {
        let found = Set(reader.records.map(\.offset))
        for offset in known.values.keys.sorted()
        where !found.contains(offset) && !known.gone.contains(offset) {
            if limits.lost[name]?.contains(offset) != true {
                violate("\(name) offset \(offset) is lost")
                return
            }
            if !told.contains(where: { $0.contains(offset) }) {
                violate("\(name) offset \(offset) is lost in silence")
                return
            }
        }
    }

    // MARK: bytes

    /// A start never deletes: what was in a segment is in it, or in a file beside it.
    private mutating func keepsBytes(_ before: DiskState, _ after: DiskState) {
        for path in before.files(below: "data/topics") where path.hasSuffix(".log") {
            let bytes = before.content(path).withoutZeros
            if bytes.isEmpty || after.content(path).starts(with: bytes) { continue }
            let folder = path.split(separator: "/").dropLast().joined(separator: "/")
            let there = after.content(path)
            let isKept = after.files(below: folder).contains { other in
                let found = after.content(other)
                if found.starts(with: bytes) { return true }
                return other.contains(".torn-") && (there + found).starts(with: bytes)
            }
            if !isKept { violate("\(path): \(bytes.count) bytes are not kept") }
        }
        for path in before.files(below: "data/topics") where path.hasSuffix("topic.meta") {
            guard limits.offline.contains(where: { path.contains("\($0)") }) else { continue }
            if after.content(path) != before.content(path) { violate("\(path) was changed") }
        }
    }

    // MARK: writing

    /// A retry of what is there is never stored again, and new records go behind the old.
    private mutating func write(_ name: LogName, _ harness: StorageHarness) {
        guard let known = base.logs[name],
            let log = harness.engine.topic(id: name.topic)?.partition(name.partition),
            let last = known.batches.last
        else { return }
        var reader = DamageReader(log, isCompacted: name.topic == DamageBase.compacted)
        reader.run(from: 0)
        let isThere = reader.records.contains { $0.offset == last.offset }
        do {
            let retry = batch(
                last.values, key: "k", producer: last.producer, epoch: 0, sequence: last.sequence)
            switch try log.appendNow(retry) {
            case .duplicate(let receipt) where receipt.baseOffset != last.offset:
                violate("\(name): the retry of \(last.offset) is at \(receipt.baseOffset)")
            case .appended(let receipt) where isThere && !known.gone.contains(last.offset):
                violate("\(name): \(last.offset) was stored again at \(receipt.baseOffset)")
            case .duplicate, .appended, .refused, .later: break
            }
            guard case .appended(let receipt) = try log.appendNow(batch(["new"], key: "new"))
            else {
                if !limits.offline.contains(name.topic) { violate("\(name) takes no records") }
                return
            }
            if receipt.baseOffset < known.end, !(limits.mayEnd && limits.lost[name] != nil) {
                violate("\(name): offset \(receipt.baseOffset) is given again")
            }
        } catch {
            violate("\(name): \(error)")
        }
    }
}
