import MartletFormat
import MartletStorage
import MartletSystem
import MartletTestSupport

extension CrashLife {
    /// Makes the scenario's first topics. Only in the first life.
    func begin() throws {
        try open()
        for topic in scenario.topics { create(topic.partitions, topic.settings) }
    }

    /// Does what the seed chooses, once.
    func step() {
        let steps = Scenario.Step.allCases.filter { scenario.weights[$0, default: 0] > 0 }
        var choice = random.below(steps.reduce(0) { $0 + scenario.weights[$1, default: 0] })
        for step in steps {
            choice -= scenario.weights[step, default: 0]
            if choice < 0 {
                run(step)
                break
            }
        }
        let wall = clock.wallMilliseconds()
        world.change { model in
            model.step += 1
            model.wall = wall
        }
    }

    private func run(_ step: Scenario.Step) {
        switch step {
        case .send: if let index = anyProducer() { send(index) }
        case .pump: pump(1 + random.below(4))
        case .settle: pumpAll()
        case .read: readOne()
        case .tick:
            clock.advance(milliseconds: Int64(50 + random.below(1500)))
            engine?.tick()
        case .resend: if let index = anyProducer() { resend(index) }
        case .deleteRecords: deleteRecords()
        case .create: if liveTopics().count < 4 { create(Int32(1 + random.below(2)), [:]) }
        case .delete: if liveTopics().count > 1 { delete() }
        case .alter: alter()
        case .addPartitions: addPartitions()
        case .restart: restart(isClean: true)
        case .kill: restart(isClean: false)
        }
    }

    private func anyProducer() -> Int? {
        let model = world.model
        let usable = model.producers.indices.filter {
            model.topics[model.producers[$0].log.topic]?.phase == .there
        }
        return usable.isEmpty ? nil : usable[random.below(usable.count)]
    }

    func liveTopics() -> [TopicID] {
        world.model.topics.filter { $0.value.phase == .there }.keys
            .sorted { $0.low < $1.low }
    }

    func liveLogs() -> [LogName] {
        let model = world.model
        return model.logs.keys.filter { name in
            guard let topic = model.topics[name.topic], topic.phase == .there else { return false }
            return name.partition < topic.partitions.lowerBound
        }.sorted()
    }

    // MARK: reading

    private func readOne() {
        let logs = liveLogs()
        guard !logs.isEmpty else { return }
        let name = logs[random.below(logs.count)]
        guard let log = log(name) else { return }
        let view = log.view
        let start =
            random.chance(1, in: 2)
            ? nil
            : view.logStart
                + Int64(random.below(Int(min(1000, view.highWatermark - view.logStart) + 1)))
        var reader = ClientReader(log, maxBytes: [1, 300, 1000, 1 << 20][random.below(4)])
        reader.run(from: start)
        note(reader, name, view)
    }

    /// Takes what a reader saw into the model.
    func note(_ reader: ClientReader, _ name: LogName, _ view: LogView) {
        // On a disk that fails, a partition that cannot be opened is refused with the reason.
        if view.state == .offline, disk.faultHits > 0 { return }
        let isFatal = world.isFatal
        world.change { model in
            for problem in reader.problems where !isFatal {
                model.violate("read", "\(name): \(problem)")
            }
            if !reader.damaged.isEmpty, !isFatal {
                model.violate("read", "\(name): damaged \(reader.damaged) without damage")
            }
            for (offset, value) in reader.records {
                if model.logs[name]?.sent.contains(value) != true {
                    model.violate("phantom", "\(name) offset \(offset): \(short(value))")
                }
                model.see(name, offset, value)
            }
            let known = model.logs[name, default: ModelLog()]
            if view.highWatermark < known.highWatermark || view.logStart < known.logStart {
                model.violate(
                    "hw-monotone",
                    "\(name): \(view.logStart) ... \(view.highWatermark) after \(known.logStart) ... \(known.highWatermark)"
                )
            }
            model.logs[name, default: ModelLog()].highWatermark = view.highWatermark
            model.logs[name, default: ModelLog()].logStart = view.logStart
        }
    }

    // MARK: administration

    /// Runs an operator's call; a failure is fine when the disk is at fault.
    private func administer(_ body: () throws -> Void) -> Bool {
        do {
            try body()
            return true
        } catch {
            if !disk.isAtFault {
                world.change { $0.violate("administration", "\(error)") }
            }
            return false
        }
    }

    func create(_ partitions: Int32, _ settings: [String: String]) {
        let number = world.change { model -> UInt64 in
            defer { model.nextTopic += 1 }
            return model.nextTopic
        }
        let id = TopicID(high: 7, low: number)
        let retention = settings["retention.bytes"].flatMap { Int64($0) } ?? -1
        world.change { model in
            model.topics[id] = ModelTopic(
                name: "t\(number)", phase: .making, partitions: partitions...partitions,
                isWritten: settings["durability"] == "written",
                isCompacted: settings["cleanup.policy"] == "compact",
                retentionBytes: retention...retention)
        }
        guard let engine else { return }
        let done = administer {
            _ = try engine.createTopic(
                name: "t\(number)", partitions: partitions, settings: settings, id: id)
        }
        guard done else { return }
        world.change { $0.topics[id]?.phase = .there }
        for partition in 0..<partitions { adopt(LogName(topic: id, partition: partition)) }
    }

    private func adopt(_ name: LogName) {
        guard world.model.logs[name] == nil else { return }
        world.change { $0.logs[name] = ModelLog() }
        addProducers(name)
    }

    private func delete() {
        let ids = liveTopics()
        let id = ids[random.below(ids.count)]
        world.change { $0.topics[id]?.phase = .going }
        guard let engine, administer({ try engine.deleteTopic(id) }) else { return }
        world.change { $0.topics[id]?.phase = .gone }
    }

    private func alter() {
        let ids = liveTopics()
        guard let engine, !ids.isEmpty else { return }
        let id = ids[random.below(ids.count)]
        if random.chance(1, in: 2) {
            let bytes = Int64(4000 + random.below(8000))
            world.change { model in
                let old = model.topics[id]?.retentionBytes ?? -1...(-1)
                let low = min(old.lowerBound, bytes)
                model.topics[id]?.retentionBytes = low...max(old.upperBound, bytes)
            }
            let done = administer {
                _ = try engine.alterTopic(
                    id, changes: [("retention.bytes", String(bytes))], validateOnly: false)
            }
            if done { world.change { $0.topics[id]?.retentionBytes = bytes...bytes } }
        } else {
            let durability = random.chance(1, in: 2) ? "written" : "durable"
            if durability == "written" { world.change { $0.topics[id]?.isWritten = true } }
            _ = administer {
                _ = try engine.alterTopic(
                    id, changes: [("durability", durability)], validateOnly: false)
            }
        }
    }

    private func addPartitions() {
        let ids = liveTopics()
        guard let engine, !ids.isEmpty else { return }
        let id = ids[random.below(ids.count)]
        guard let topic = world.model.topics[id], topic.partitions.upperBound < 4 else { return }
        let total = topic.partitions.upperBound + 1
        world.change { $0.topics[id]?.partitions = topic.partitions.lowerBound...total }
        guard administer({ try engine.addPartitions(id, total: total) }) else { return }
        world.change { $0.topics[id]?.partitions = total...total }
        for partition in 0..<total { adopt(LogName(topic: id, partition: partition)) }
    }

    private func deleteRecords() {
        let logs = liveLogs()
        guard !logs.isEmpty else { return }
        let name = logs[random.below(logs.count)]
        guard let log = log(name) else { return }
        let view = log.view
        let span = Int(min(200, view.highWatermark - view.logStart))
        let before = view.logStart + Int64(random.below(span + 1))
        var start: Int64 = 0
        guard administer({ start = try log.deleteRecords(before: before) }) else { return }
        let answer = start
        world.change { model in
            if answer < before {
                model.violate("retention", "\(name): asked \(before), got \(answer)")
            }
            model.logs[name, default: ModelLog()].logStart = answer
        }
    }

    // MARK: restarts within a life

    private func restart(isClean: Bool) {
        if isClean, let engine {
            pumpAll()
            _ = administer { try engine.close() }
        }
        engine = nil
        disk.unlockAll()
        do {
            try open()
        } catch {
            if disk.faultHits == 0 { world.change { $0.violate("start", "\(error)") } }
        }
    }
}
