import Glibc
import MartletClient
import MartletJSON
import MartletSystem
import MartletTestSupport
import Synchronization

/// One process of the history campaign, which writes down what it does:
/// `martlet-verify history-worker producer|stream|queue|ordered|passing|parking SERVER FILE NUMBER`
///
/// It ends in order when its standard input does.
struct HistoryWorker {
    enum Kind: String, Sendable {
        case producer
        case stream
        case queue
        /// Of a queue in order by key.
        case ordered
        /// Of a queue over a topic that retention takes from.
        case passing
        /// Of a stream group that parks the keys of what fails.
        case parking
    }

    static let topic = "history"
    static let streamGroup = "board"
    static let queueGroup = "notify"
    static let orderedGroup = "ledger"
    static let parkingGroup = "gate"
    static let passingTopic = "passing"
    static let passingGroup = "late"
    static let session = Duration.seconds(1)
    static let lease = Duration.seconds(1)
    /// Members below this number are there for the whole run, and half of them have a name.
    static let crew = 4
    private static let lanes = 8

    private let kind: Kind
    private let server: String
    private let number: Int
    private let history: HistoryWriter

    init(_ arguments: [String]) throws {
        guard arguments.count == 4, let kind = Kind(rawValue: arguments[0]),
            let number = Int(arguments[3])
        else {
            throw VerifyError(
                "usage: martlet-verify history-worker producer|stream|queue|ordered|passing|parking SERVER FILE NUMBER"
            )
        }
        self.kind = kind
        server = arguments[1]
        self.number = number
        history = try HistoryWriter(arguments[2])
    }

    func run() async throws {
        let client = ClientConfiguration(server: server, deadline: .seconds(120))
        let work = Task {
            try await Martlet.withClient(client) { client in
                switch kind {
                case .producer: try await produce(client)
                case .stream: try await handle(client)
                case .queue: try await settle(client)
                case .ordered: try await keepOrder(client)
                case .passing: try await fallBehind(client)
                case .parking: try await setAside(client)
                }
            }
        }
        DetachedThread.start("input") {
            var byte: UInt8 = 0
            while unsafe read(0, &byte, 1) > 0 {}
            work.cancel()
        }
        do {
            try await work.value
        } catch is CancellationError {
            // Told to end.
        }
        history.write(.end)
    }

    // MARK: - Producing

    private func produce(_ client: MartletClient) async throws {
        history.write(.start, nil, ["f": "producer"])
        let producer = try await client.producer()
        await withTaskGroup(of: Void.self) { group in
            for lane in 0..<Self.lanes {
                group.addTask { await drive(number * 1_000 + lane, producer) }
            }
        }
        await producer.close()
    }

    /// Sends one record after the other; what was begun is awaited also at the end.
    private func drive(_ lane: Int, _ producer: Producer) async {
        var counter = 0
        while !Task.isCancelled {
            let payload = Payload(lane: lane, counter: counter)
            counter += 1
            await Task { await send(payload, producer) }.value
            // Less of what retention takes: it is large.
            if counter.isMultiple(of: 3) {
                await Task { await send(payload, producer, to: Self.passingTopic) }.value
            }
            try? await Task.sleep(for: .milliseconds(10 + (lane + counter) % 30))
        }
    }

    private func send(
        _ payload: Payload, _ producer: Producer, to topic: String = topic
    ) async {
        var facts: JSONObject = ["v": .string(payload.name)]
        var record = ProducerRecord(
            topic: topic, key: Array("\(payload.lane)".utf8), value: payload.bytes)
        if topic != Self.topic {
            facts["m"] = .string(topic)
            record.headers = [RecordHeader("filler", Self.filler)]
        }
        history.write(.send, .invoke, facts)
        do {
            let receipt = try await producer.send(record)
            facts["k"] = JSONValue(receipt.partition)
            facts["off"] = .integer(receipt.offset)
            history.write(.send, .ok, facts)
        } catch {
            let isCertain = (error as? MartletError)?.outcome == .notWritten
            facts["f"] = .string("\(error)")
            history.write(.send, isCertain ? .fail : .info, facts)
        }
    }

    private static let filler = [UInt8](repeating: 7, count: 3_000)

    // MARK: - A stream group

    private var instance: String? {
        number < Self.crew && number.isMultiple(of: 2) ? "slot-\(number)" : nil
    }

    private func handle(_ client: MartletClient) async throws {
        var configuration = GroupConsumerConfiguration(
            Self.streamGroup, topics: [Self.topic],
            instance: instance,
            sessionTimeout: Self.session,
            commitPolicy: .afterProcessing(interval: .milliseconds(50)))
        // Little at a time: many commits, and kills between them.
        configuration.maxBytes = 16 << 10
        let late = LateCommits(history, client.admin)
        configuration.trace = { event in
            history.write(event)
            late.hear(event)
        }
        switch number % 4 {
        case 0:
            begin("serial")
            try await client.withGroupConsumer(configuration) { consumer in
                for try await record in consumer.records { try await work(record) }
            }
        case 2:
            begin("unordered")
            try await client.consumeGroup(configuration, handling: .unordered(8)) { record in
                try await work(record)
            }
        default:
            begin("key")
            try await client.consumeGroup(configuration, handling: .perKey(4)) { record in
                try await work(record)
            }
        }
    }

    /// Some fail for a while and some for good, not always the same: what is released comes again.
    private func setAside(_ client: MartletClient) async throws {
        var configuration = GroupConsumerConfiguration(
            Self.parkingGroup, topics: [Self.topic], sessionTimeout: Self.session,
            commitPolicy: .afterProcessing(interval: .milliseconds(50)))
        configuration.maxBytes = 16 << 10
        configuration.failures = .byPolicy
        let random = Mutex(SeededRandom(seed: .random(in: 0...UInt64.max)))
        history.write(.start, nil, ["f": .string(kind.rawValue)])
        try await client.consumeGroup(
            configuration, handling: number.isMultiple(of: 2) ? .serial : .perKey(4)
        ) { record in
            switch random.withLock({ $0.below(100) }) {
            case 0:
                begin(record)
                throw Refused()
            case 1...2:
                begin(record)
                throw Unready()
            default: try await work(record)
            }
        }
    }

    private func begin(_ mode: String) {
        history.write(.start, nil, ["f": .string(mode), "m": .string(instance ?? "")])
    }

    /// Some records nobody can handle.
    private struct Refused: PermanentFailure {}
    /// Or not now.
    private struct Unready: Error {}

    @discardableResult
    private func begin(_ record: ConsumedRecord) -> JSONObject {
        var facts: JSONObject = [
            "k": JSONValue(record.partition), "off": .integer(record.offset),
            "v": record.valueBytes.flatMap(Payload.init).map { .string($0.name) } ?? .null,
        ]
        if let epoch = record.memberEpoch { facts["gen"] = JSONValue(epoch) }
        history.write(.begin, nil, facts)
        return facts
    }

    private func work(_ record: ConsumedRecord) async throws {
        let facts = begin(record)
        // A moment now and then: kills are to meet records in hand, and some end before others
        // that began sooner.
        if record.offset.isMultiple(of: 8) { try await Task.sleep(for: .milliseconds(5)) }
        history.write(.done, nil, facts)
    }

    // MARK: - A queue group

    private func settle(_ client: MartletClient) async throws {
        var configuration = QueueConfiguration(
            Self.queueGroup, topics: [Self.topic], concurrency: 4, prefetch: 20, lease: Self.lease)
        // What is leased ends before the session does.
        configuration.sessionTimeout = Self.lease * 2
        configuration.trace = { history.write($0) }
        history.write(.start, nil, ["f": .string(QueueScene.free.rawValue)])
        try await client.consumeQueue(configuration) { record in
            if record.record.offset.isMultiple(of: 23) {
                begin(record.record)
                throw Refused()
            }
            try await work(record.record)
            // Some are given back the first time, for a moment.
            if record.attempt == 1, record.record.offset.isMultiple(of: 7) {
                return .again(after: .milliseconds(record.record.offset % 20))
            }
            return .done
        }
    }

    private func configuration(_ scene: QueueScene) -> QueueConfiguration {
        var configuration = QueueConfiguration(
            scene.group, topics: [scene.topic], concurrency: 4, prefetch: 20, lease: Self.lease)
        configuration.sessionTimeout = Self.lease * 2
        configuration.trace = { history.write($0) }
        history.write(.start, nil, ["f": .string(scene.rawValue)])
        return configuration
    }

    /// Some are given back, and some fail for ever: not always the same, for what is released comes
    /// as if nobody had tried it.
    private func keepOrder(_ client: MartletClient) async throws {
        let random = Mutex(SeededRandom(seed: .random(in: 0...UInt64.max)))
        try await client.consumeQueue(configuration(.ordered)) { record in
            let chance = random.withLock { $0.below(60) }
            if chance == 0 {
                begin(record.record)
                throw Refused()
            }
            try await work(record.record)
            return chance < 4 ? .again(after: .milliseconds(chance * 20)) : .done
        }
    }

    /// Some are given back for so long that retention comes first.
    private func fallBehind(_ client: MartletClient) async throws {
        try await client.consumeQueue(configuration(.passing)) { record in
            let offset = record.record.offset
            if offset.isMultiple(of: 31) {
                begin(record.record)
                throw Refused()
            }
            try await work(record.record)
            if record.attempt == 1, offset.isMultiple(of: 5) { return .again(after: .seconds(3)) }
            return .done
        }
    }
}

extension HistoryWriter {
    func write(_ trace: MemberTrace) {
        switch trace {
        case .joining(let member): write(.join, nil, ["m": .string(member)])
        case .heard(let member, let asked):
            write(.heard, nil, ["m": .string(member), "asked": .integer(asked)])
        case .assigned(let member, let part, let offset, let finished):
            var facts = Self.facts(part, offset, finished)
            facts["m"] = .string(member)
            write(.assign, nil, facts)
        case .releasing(let member, let part):
            write(
                .release, nil,
                [
                    "m": .string(member), "k": JSONValue(part.partition),
                    "gen": JSONValue(part.epoch),
                ])
        case .leaving(let member): write(.leave, nil, ["m": .string(member)])
        case .committing(let number, let part, let offset, let finished):
            var facts = Self.facts(part, offset, finished)
            facts["n"] = JSONValue(number)
            write(.commit, .invoke, facts)
        case .committed(let number, let part, let outcome):
            var facts: JSONObject = [
                "n": JSONValue(number), "k": JSONValue(part.partition),
                "gen": JSONValue(part.epoch),
            ]
            write(.commit, Self.phase(outcome, &facts), facts)
        case .delivered(let delivered, let asked):
            var facts = Self.facts(delivered)
            facts["asked"] = .integer(asked)
            write(.deliver, nil, facts)
        case .settling(let number, let delivered, let verb):
            write(.settle, .invoke, Self.facts(delivered, number, verb))
        case .settled(let number, let delivered, let verb, let outcome):
            var facts = Self.facts(delivered, number, verb)
            write(.settle, Self.phase(outcome, &facts), facts)
        }
    }

    private static func facts(
        _ part: MemberTrace.Part, _ offset: Int64, _ finished: [Range<Int64>]
    ) -> JSONObject {
        var facts: JSONObject = [
            "k": JSONValue(part.partition), "gen": JSONValue(part.epoch), "off": .integer(offset),
        ]
        if !finished.isEmpty { facts["fin"] = JSONValue(finished) }
        return facts
    }

    private static func facts(_ delivered: MemberTrace.Delivered) -> JSONObject {
        [
            "k": JSONValue(delivered.partition), "d": JSONValue(delivered.number),
            "lane": JSONValue(delivered.lane),
            "off": .integer(delivered.range.lowerBound), "to": .integer(delivered.range.upperBound),
        ]
    }

    private static func facts(
        _ delivered: MemberTrace.Delivered, _ number: Int, _ verb: MemberTrace.Verb
    ) -> JSONObject {
        var facts = facts(delivered)
        facts["n"] = JSONValue(number)
        facts["f"] = .string(verb.rawValue)
        return facts
    }

    private static func phase(
        _ outcome: MemberTrace.Outcome, _ facts: inout JSONObject
    ) -> HistoryEvent.Phase {
        switch outcome {
        case .taken: return .ok
        case .refused(let code):
            facts["why"] = .string("\(code)")
            return .fail
        }
    }
}
