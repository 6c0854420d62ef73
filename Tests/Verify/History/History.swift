import MartletClient
import MartletJSON
import MartletSystem
import MartletTestSupport

/// Producers, a stream group and a queue group in processes of their own, a broker and members that
/// are killed, stopped and sent away, and a checker that reads what all of them wrote down.
struct History {
    let options: Options
    /// A bug that broker or members have on purpose.
    let plant: String?
    private static let partitions = 8
    static let producers = 2

    init(_ options: Options, plant: String? = nil) {
        self.options = options
        self.plant = plant
    }

    func run() async throws -> HistoryVerdict {
        let work = "\(options.work)-\(plant ?? "none")-\(SystemClock().bootNanoseconds())"
        try? FileTree.remove(work)
        try FileTree.make(work)
        try FileTree.make("\(work)/history")
        defer { if !options.keeps { try? FileTree.remove(work) } }
        let driver = "\(work)/history/driver.jsonl"
        let history = try HistoryWriter(driver)
        let broker = BrokerProcess(bin: options.bin, data: "\(work)/data", work: work)
        broker.plant = plant
        var environment = CurrentProcess.environment
        environment["MARTLET_PLANT"] = plant
        let crew = HistoryCrew(
            program: "\(options.bin)/martlet-verify", folder: "\(work)/history",
            environment: environment, history)
        try broker.start()
        crew.server = broker.listen
        history.write(.start, nil, ["f": "driver", "seed": JSONValue(options.seed)])
        let configuration = ClientConfiguration(server: broker.listen, deadline: .seconds(120))
        write(broker, history)
        try await Martlet.withClient(configuration) { client in
            try await drive(client, broker, crew, history)
        }
        write(broker, history)
        try broker.kill()
        return try HistoryVerdict(
            files: [driver] + crew.files, seconds: options.seconds, seed: options.seed)
    }

    private func write(_ broker: BrokerProcess, _ history: HistoryWriter) {
        let size = ProcessSize(broker.processID)
        history.write(
            .resource, nil,
            ["bytes": .integer(size.residentBytes), "fds": .integer(size.descriptors)])
    }

    private func drive(
        _ client: MartletClient, _ broker: BrokerProcess, _ crew: HistoryCrew,
        _ history: HistoryWriter
    ) async throws {
        try await prepare(client, history)
        for number in 0..<HistoryWorker.crew {
            try crew.start(HistoryCrew.Place(kind: .stream, number: number))
            try crew.start(HistoryCrew.Place(kind: .queue, number: number))
            guard number < 2 else { continue }
            try crew.start(HistoryCrew.Place(kind: .ordered, number: number))
            try crew.start(HistoryCrew.Place(kind: .passing, number: number))
            try crew.start(HistoryCrew.Place(kind: .parking, number: number))
        }
        for number in 0..<Self.producers {
            try crew.start(HistoryCrew.Place(kind: .producer, number: number))
        }
        var nemesis = HistoryNemesis(
            client, broker, crew, history, SeededRandom(seed: options.seed))
        try await nemesis.rage(seconds: options.seconds)
        // With a bug nothing need come to rest.
        let patience = plant == nil ? 60 : 2
        var isQuiet = crew.end([.producer], seconds: patience)
        var left: Int64 = -1
        for _ in 0..<(patience * 10) where left != 0 {
            try crew.revive()
            try await nemesis.release()
            pause(milliseconds: 100)
            left = try await nemesis.look()
        }
        isQuiet = isQuiet && left == 0
        if left == 0 { history.write(.nemesis, nil, ["f": "rest"]) }
        try await drain(client, history)
        for scene in QueueScene.allCases {
            try await HistoryLooks(client, history).tally(scene)
            try await drainLetters(scene.group, client, history)
        }
        isQuiet =
            crew.end([.stream, .queue, .ordered, .passing, .parking], seconds: patience) && isQuiet
        history.write(.end, nil, isQuiet ? [:] : ["f": .string("\(left) left")])
    }

    private func prepare(_ client: MartletClient, _ history: HistoryWriter) async throws {
        try await client.admin.createTopic(
            HistoryWorker.topic, partitions: Self.partitions,
            settings: ["segment.bytes": "1048576"])
        // As little as there can be of one.
        try await client.admin.createTopic(
            HistoryWorker.passingTopic, partitions: 1,
            settings: ["segment.bytes": "65536", "retention.bytes": "65536"])
        try await client.admin.createGroup(HistoryWorker.streamGroup)
        try await client.admin.createGroup(HistoryWorker.queueGroup, .queue(.earliest))
        try await client.admin.createGroup(
            HistoryWorker.orderedGroup, .queue(.earliest, order: .byKey))
        try await HistoryWords(client, history).park(key: true)
        try await client.admin.createGroup(HistoryWorker.parkingGroup)
        try await client.admin.setFailurePolicy(
            FailurePolicy(
                attempts: 3, backoff: .milliseconds(20), last: .parkKey,
                breaker: BreakerPolicy(share: nil)),
            of: HistoryWorker.parkingGroup)
        try await client.admin.createGroup(HistoryWorker.passingGroup, .queue(.earliest))
        // While a breaker is not closed it counts no attempts.
        try await client.admin.setFailurePolicy(
            FailurePolicy(breaker: BreakerPolicy(share: nil)), of: HistoryWorker.passingGroup)
    }

    /// Reads everything once more, from the beginning.
    private func drain(_ client: MartletClient, _ history: HistoryWriter) async throws {
        let reading = Reading(client: client, topic: HistoryWorker.topic, ledger: Ledger())
        for (partition, records) in try await reading.drain() {
            for (offset, payload) in records {
                history.write(
                    .drain, nil,
                    [
                        "k": JSONValue(partition), "off": .integer(offset),
                        "v": .string(payload.name),
                    ])
            }
        }
    }

    /// Dead letters as the broker lists them, and as their topic has them.
    private func drainLetters(
        _ group: String, _ client: MartletClient, _ history: HistoryWriter
    ) async throws {
        for letter in try await client.admin.deadLetters(of: group) {
            history.write(
                .listed, nil,
                [
                    "k": JSONValue(letter.partition.partition), "off": .integer(letter.offset),
                    "d": JSONValue(letter.number), "m": .string(group),
                    "f": .string(letter.reason.rawValue),
                ])
        }
        let topic = DeadLetterEntry.topic(of: group)
        guard try await client.admin.listTopics().contains(where: { $0.name == topic }) else {
            return
        }
        let end = try await client.admin.listOffsets(topic, at: .latest).first?.offset ?? 0
        try await client.withConsumer(ConsumerConfiguration(topic: topic)) { consumer in
            guard end > 0 else { return }
            for try await record in consumer.records {
                if let entry = DeadLetterEntry(record) { write(entry, history) }
                if record.offset >= end - 1 { break }
            }
        }
    }

    private func write(_ entry: DeadLetterEntry, _ history: HistoryWriter) {
        history.write(
            .letter, nil,
            [
                "m": .string(entry.group), "k": JSONValue(entry.partition.partition),
                "off": .integer(entry.offset), "d": JSONValue(entry.letter),
                "n": JSONValue(entry.number),
                "v": entry.record.valueBytes.flatMap(Payload.init).map { .string($0.name) }
                    ?? .null,
            ])
    }
}
