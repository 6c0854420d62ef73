import MartletFormat
import MartletStorage
import MartletTestSupport

/// What must hold of a recovered disk (reliability §3.2), held against the model of the moment of
/// the crash.
struct CrashCheck {
    let life: CrashLife
    /// The model as it was when the crash came.
    let before: Model
    let kind: CrashImage.Kind
    /// Log starts that the uncrashed run reached by the end of the step that was cut short.
    let logStarts: [LogName: Int64]
    /// Bytes that were made to rot: these offsets, and no others, may be reported as damaged.
    var rot: Rot?

    func run() {
        guard let engine = life.engine else { return }
        for (id, topic) in before.topics.sorted(by: { $0.key.low < $1.key.low }) {
            let found = engine.topic(id: id)
            switch topic.phase {
            case .there where found == nil:
                violate("lost-acked", "topic \(id.low) is gone")
            case .gone where found != nil:
                violate("read-then-gone", "deleted topic \(id.low) is back")
            case .there, .gone, .making, .going: break
            }
            guard let found else { continue }
            check(id, topic, found)
        }
        if life.world.isFatal { violate("fatal", "storage failed") }
    }

    private func violate(_ id: String, _ text: String) {
        life.world.change { $0.violate(id, text) }
    }

    private func check(_ id: TopicID, _ topic: ModelTopic, _ found: Topic) {
        guard found.isOnline else {
            violate("offline", "topic \(id.low): \(found.offlineReason?.text ?? "")")
            return
        }
        guard topic.partitions.contains(found.partitionCount) else {
            violate(
                "lost-acked",
                "topic \(id.low) has \(found.partitionCount), acked \(topic.partitions)")
            return
        }
        if !topic.retentionBytes.contains(found.settings.retentionBytes) {
            violate("lost-acked", "topic \(id.low) lost its settings")
        }
        for partition in 0..<found.partitionCount {
            let name = LogName(topic: id, partition: partition)
            guard let log = found.partition(partition) else {
                violate("offline", "\(name) is missing")
                continue
            }
            check(name, log, topic)
        }
    }

    private func check(_ name: LogName, _ log: PartitionLog, _ topic: ModelTopic) {
        let known = before.logs[name, default: ModelLog()]
        let view = log.view
        var reader = ClientReader(log)
        reader.run()
        for problem in reader.problems { violate("read", "\(name): \(problem)") }
        let rotten = rot.flatMap { $0.log == name ? $0.offsets : nil }
        for damage in reader.damaged where rotten != damage {
            violate("damage", "\(name): reports \(damage), rotten is \(rotten ?? 0..<0)")
        }
        bounds(name, view, known)
        content(name, reader, known)
        kept(name, reader, known, view, isCompacted: topic.isCompacted)
        life.world.change { model in
            model.logs[name, default: ModelLog()].highWatermark = view.highWatermark
            model.logs[name, default: ModelLog()].logStart = view.logStart
        }
        // A power cut may have taken what was only `written`.
        let found = Dictionary(reader.records.map { ($0.offset, $0.value) }) { first, _ in first }
        life.world.change { model in
            model.logs[name]?.written = known.written.filter { found[$0.key] == $0.value }
        }
        // What is read now is fixed from now on.
        for (offset, value) in reader.records {
            life.world.change { $0.see(name, offset, value) }
        }
    }

    private func bounds(_ name: LogName, _ view: LogView, _ known: ModelLog) {
        if view.highWatermark < known.highWatermark || view.logStart < known.logStart {
            violate(
                "hw-monotone",
                "\(name): \(view.logStart) ... \(view.highWatermark), was \(known.logStart) ... \(known.highWatermark)"
            )
        }
        let most = max(known.logStart, logStarts[name] ?? 0)
        if view.logStart > most {
            violate("retention", "\(name): log start \(view.logStart), nobody asked above \(most)")
        }
    }

    private func content(_ name: LogName, _ reader: ClientReader, _ known: ModelLog) {
        var places: [String: Int64] = [:]
        var newest: [Int64: (epoch: Int, sequence: Int)] = [:]
        for (offset, value) in reader.records {
            if !known.sent.contains(value) {
                violate("phantom", "\(name) offset \(offset): \(short(value))")
            }
            if let first = places.updateValue(offset, forKey: value) {
                violate("duplicate", "\(name): \(short(value)) at \(first) and \(offset)")
            }
            let parts = value.split(separator: ".", maxSplits: 3)
            guard parts.count >= 3, let producer = Int64(parts[0]), let epoch = Int(parts[1]),
                let sequence = Int(parts[2])
            else { continue }
            // What was lost may come again from whoever sends the same message.
            if !life.scenario.repeats, let last = newest[producer], (epoch, sequence) <= last {
                violate("order", "\(name): \(short(value)) at \(offset) behind \(last)")
            }
            newest[producer] = (epoch, sequence)
        }
    }

    private func isRotten(_ name: LogName, _ offset: Int64) -> Bool {
        guard let rot, rot.log == name else { return false }
        return rot.offsets.contains(offset)
    }

    private func kept(
        _ name: LogName, _ reader: ClientReader, _ known: ModelLog, _ view: LogView,
        isCompacted: Bool
    ) {
        // All records of a log have one key: the newest one must be there.
        let newest = isCompacted ? reader.records.last?.offset ?? 0 : 0
        let found = Dictionary(reader.records.map { ($0.offset, $0.value) }) { first, _ in first }
        var must = known.fixed.map { ("lost-acked", $0.key, $0.value) }
        if kind == .kill {
            must += known.read.map { ("read-then-gone", $0.key, $0.value) }
            must += known.written.map { ("lost-acked", $0.key, $0.value) }
        }
        for (id, offset, value) in must where offset >= view.logStart && !isRotten(name, offset) {
            guard let there = found[offset] else {
                if offset < newest { continue }
                violate(
                    id,
                    "\(name) offset \(offset) \(short(value)) is gone; log \(view.logStart) ... \(view.highWatermark)"
                )
                continue
            }
            if there != value {
                violate(
                    "offset-conflict",
                    "\(name) offset \(offset) is \(short(there)), was \(short(value))")
            }
        }
        for (offset, value) in known.read
        where offset >= view.logStart && !isRotten(name, offset) {
            if let there = found[offset] {
                if there != value {
                    violate(
                        "offset-conflict",
                        "\(name) offset \(offset) is \(short(there)), was read as \(short(value))")
                }
            } else if !reader.gaps.contains(where: { $0.contains(offset) }) {
                violate("read-then-gone", "\(name) offset \(offset) is in no gap")
            }
        }
    }
}
