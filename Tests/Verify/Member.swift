import Glibc
import MartletClient

/// One member of a group as a process of its own, which is there to be killed:
/// `martlet-verify member SERVER TOPIC FILE before|after|queue SLOT`
///
/// Each record that it handles becomes one line of its file, outside the broker. It runs until it
/// is killed.
struct Member {
    /// When it commits: before it handles a record, or after that; or it settles each, as a member of
    /// a queue.
    enum Commits: String, Sendable, CaseIterable {
        case before
        case after
        case queue
    }

    private let server: String
    private let topic: String
    private let file: String
    private let commits: Commits
    private let slot: Int

    init(_ arguments: [String]) throws {
        guard arguments.count == 5, let commits = Commits(rawValue: arguments[3]),
            let slot = Int(arguments[4])
        else {
            throw VerifyError(
                "usage: martlet-verify member SERVER TOPIC FILE before|after|queue SLOT")
        }
        server = arguments[0]
        topic = arguments[1]
        file = arguments[2]
        self.commits = commits
        self.slot = slot
    }

    func run() async throws {
        let effects = try Effects(appendingTo: file)
        let client = ClientConfiguration(server: server, deadline: .seconds(120))
        try await Martlet.withClient(client) { client in
            if commits == .queue { return try await settle(client, effects) }
            switch slot % 4 {
            case 0:
                try await client.withGroupConsumer(configuration) { consumer in
                    for try await record in consumer.records {
                        try await work(record)
                        try effects.add(record)
                    }
                }
            case 1: try await handle(client, .serial, effects)
            case 2: try await handle(client, .perKey(4), effects)
            default: try await handle(client, .unordered(8), effects)
            }
        }
    }

    private func handle(
        _ client: MartletClient, _ handling: GroupHandling, _ effects: Effects
    ) async throws {
        try await client.consumeGroup(configuration, handling: handling) { record in
            try await work(record)
            try effects.add(record)
        }
    }

    /// Some records are given back the first time, for a moment.
    private func settle(_ client: MartletClient, _ effects: Effects) async throws {
        var configuration = QueueConfiguration(
            topic, topics: [topic], concurrency: 4, prefetch: 60, lease: .seconds(1))
        configuration.sessionTimeout = .seconds(1)
        try await client.consumeQueue(configuration) { record in
            try await work(record.record)
            if record.attempt == 1, record.record.offset.isMultiple(of: 7) {
                return .again(after: .milliseconds(record.record.offset % 20))
            }
            try effects.add(record.record)
            return .done
        }
    }

    /// Takes a moment now and then: a kill is to meet records in hand, and records of other handlers
    /// that began later and ended before.
    private func work(_ record: ConsumedRecord) async throws {
        if record.offset.isMultiple(of: 16) { try await Task.sleep(for: .milliseconds(5)) }
    }

    /// Every other one has a name that outlives it, and takes up its partitions at once.
    private var configuration: GroupConsumerConfiguration {
        var result = GroupConsumerConfiguration(
            topic, topics: [topic], instance: slot.isMultiple(of: 2) ? "slot-\(slot)" : nil,
            sessionTimeout: .seconds(1), drainTimeout: .seconds(2),
            commitPolicy: commits == .before
                ? .beforeProcessing : .afterProcessing(interval: .milliseconds(50)))
        // Little at a time: many commits, and kills between them.
        result.maxBytes = 16 << 10
        return result
    }
}

/// What members did, in a file that they append to.
final class Effects: Sendable {
    struct Line: Hashable {
        let partition: Int32
        let offset: Int64
    }

    private let descriptor: CInt

    init(appendingTo path: String) throws {
        descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw VerifyError("cannot open \(path)") }
    }

    deinit { close(descriptor) }

    /// One line with one write: a kill leaves all of it or nothing.
    func add(_ record: ConsumedRecord) throws {
        guard let payload = record.valueBytes.flatMap(Payload.init) else {
            throw VerifyError("\(record.partition)/\(record.offset): bytes that nobody sent")
        }
        let line = Array("\(record.partition) \(record.offset) \(payload.identity)\n".utf8)
        let count = unsafe line.withUnsafeBytes {
            unsafe write(descriptor, $0.baseAddress, $0.count)
        }
        guard count == line.count else { throw VerifyError("cannot write an effect") }
    }

    static func size(_ path: String) -> Int {
        var facts = stat()
        guard unsafe stat(path, &facts) == 0 else { return 0 }
        return Int(facts.st_size)
    }

    /// Calls `body` with each line of a file.
    static func read(_ path: String, _ body: (Line, UInt64) -> Void) throws {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw VerifyError("cannot open \(path)") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        for text in bytes.split(separator: 10) {
            let numbers = text.split(separator: 32).map { String(decoding: $0, as: UTF8.self) }
            guard numbers.count == 3, let partition = Int32(numbers[0]),
                let offset = Int64(numbers[1]), let identity = UInt64(numbers[2])
            else {
                throw VerifyError("\(path): a line that is none: \(numbers)")
            }
            body(Line(partition: partition, offset: offset), identity)
        }
    }
}
