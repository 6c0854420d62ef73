import MartletClient
import MartletJSON
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

/// Backups taken while a queue's records are handled and die: accounts and dead letters are whole in
/// them, and nothing is passed over, of before or of after a restore. (That no group of a backup is
/// ahead of its topics is proved by storage's own tests; here it would be said in the log.)
@Suite(.timeLimit(.minutes(5))) struct GroupBackupTests {
    private struct Place: Hashable {
        let partition: Int32
        let offset: Int64

        init(_ partition: Int32, _ offset: Int64) {
            (self.partition, self.offset) = (partition, offset)
        }

        init(_ record: ConsumedRecord) { self.init(record.partition, record.offset) }
    }

    /// A `martletd` on a folder, killed in the end.
    private final class Process {
        private let child: ChildProcess
        let configuration: ClientConfiguration

        init(_ folder: TemporaryDirectory) throws {
            let ready = folder.path("ready")
            child = try ChildProcess(
                BuiltPrograms.folder + "/martletd",
                [
                    "--data", folder.path("data"), "--listen", "127.0.0.1:0", "--admin",
                    "127.0.0.1:0", "--ready-file", ready,
                ], environment: BuiltPrograms.environment)
            let serves = child.waitForErrorOutput("SERVING")
            try #require(serves, "\(child.errorOutput)")
            let file = try PosixFileSystem().open(ready, .readOnly)
            var bytes = [UInt8](repeating: 0, count: 4_096)
            let count = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe file.read(into: buffer, at: 0)
            }
            let words = try JSONValue(parsing: bytes[..<count])["listen"]?.stringValue
            let server: String = try #require(words)
            configuration = ClientConfiguration(server: server)
        }

        /// What a start says of groups that know of more than their topics have.
        var tellsOfGroupsAhead: Bool {
            ["GROUPS_AHEAD", "GROUP_SET_BACK"].contains(where: child.errorOutput.contains)
        }

        func kill() {
            child.kill()
            _ = child.wait()
        }

        deinit { child.kill() }
    }

    private final class Handled: Sendable {
        private let state = Mutex<Set<Place>>([])
        private let began = Atomic(0)

        func begin() { began.add(1, ordering: .relaxed) }
        /// How many handlers began.
        var count: Int { began.load(ordering: .relaxed) }
        func add(_ record: ConsumedRecord) { state.withLock { _ = $0.insert(Place(record)) } }
        var all: Set<Place> { state.withLock { $0 } }
    }

    private static func tool(_ words: String...) throws {
        let child = try ChildProcess(
            BuiltPrograms.folder + "/martlet", words, environment: BuiltPrograms.environment)
        try #require(child.wait() == .exited(0), "\(words): \(child.errorOutput)")
    }

    // MARK: - While records die

    private static let partitions = 4

    /// Sends until it is told to end, and never far ahead of who handles it: what is copied of the
    /// group is to be close to the end.
    private static func produce(_ client: MartletClient, _ handled: Handled) async throws {
        try await client.withProducer { producer in
            var number = 0
            while !Task.isCancelled {
                while number - handled.count > 100, !Task.isCancelled { await Task.yield() }
                for _ in 0..<20 {
                    try producer.enqueue(topic: "t", key: "k\(number % 50)", value: "\(number)")
                    number += 1
                }
                try await producer.flush()
            }
        }
    }

    /// Every fifth record dies.
    private static func consume(_ client: MartletClient, _ handled: Handled) async throws {
        let configuration = QueueConfiguration("g", topics: ["t"], concurrency: 4, prefetch: 50)
        try await client.consumeQueue(configuration) { record in
            handled.begin()
            if record.record.offset.isMultiple(of: 5) { throw PermanentError("bad") }
            handled.add(record.record)
            return .done
        }
    }

    /// Two copies in the middle of it.
    private static func backUp(
        _ folder: TemporaryDirectory, _ client: MartletClient
    ) async throws -> [String] {
        var backups: [String] = []
        for round in 1...2 {
            var dead: Int64 = 0
            while dead < Int64(round) * 200 {
                dead = try await client.admin.describeGroup("g").queues.reduce(0) { $0 + $1.dead }
            }
            backups.append(folder.path("backup-\(round)"))
            try tool("backup", folder.path("data"), backups[round - 1])
        }
        return backups
    }

    // MARK: - Restored

    private static func expectWhole(_ client: MartletClient, _ handled: Handled) async throws {
        var group = try await client.admin.describeGroup("g")
        for line in group.queues {
            let end = line.highWatermark ?? -1
            let sum =
                line.acked + line.expired + line.dead + line.inFlight + line.delayed + line.parked
                + line.ready
            #expect(sum == end - line.start && line.floor <= end, "\(line)")
        }
        while group.deadLetters.notStored > 0 {
            group = try await client.admin.describeGroup("g")
        }
        let letters = try await client.admin.deadLetters(of: "g")
        #expect(letters.count > 100)
        let stored = try await entries(client)
        for letter in letters {
            #expect(letter.offset.isMultiple(of: 5))
            #expect(stored[letter.number] == Place(letter.partition.partition, letter.offset))
        }
        let dead = Set(letters.map { Place($0.partition.partition, $0.offset) })
        try await expectNothingPassed(client, handled.all.union(dead))
    }

    /// Of which record each dead letter is, as the topic of them has it.
    private static func entries(_ client: MartletClient) async throws -> [UInt64: Place] {
        let topic = DeadLetterEntry.topic(of: "g")
        let end = try await client.admin.listOffsets(topic, at: .latest).first?.offset ?? 0
        var found: [UInt64: Place] = [:]
        try await client.withConsumer(ConsumerConfiguration(topic: topic)) { consumer in
            for try await record in consumer.records {
                let entry = try #require(DeadLetterEntry(record))
                found[entry.letter] = Place(entry.partition.partition, entry.offset)
                if record.offset >= end - 1 { break }
            }
        }
        return found
    }

    /// What comes after a restore is handled, and so is all that was neither handled nor dead.
    private static func expectNothingPassed(
        _ client: MartletClient, _ settled: Set<Place>
    ) async throws {
        let before = try await client.admin.listOffsets("t", at: .latest)
        try await client.withProducer { producer in
            for number in 0..<400 {
                try producer.enqueue(
                    topic: "t", value: "\(number)", partition: Int32(number % partitions))
            }
        }
        let again = Handled()
        let member = Task {
            try await client.consumeQueue(QueueConfiguration("g", topics: ["t"])) { record in
                again.add(record.record)
                return .done
            }
        }
        while try await client.admin.describeGroup("g").lag > 0 {}
        member.cancel()
        _ = await member.result
        for line in before {
            for offset in 0..<line.offset + Int64(400 / partitions) {
                let place = Place(line.partition, offset)
                let isNew = offset >= line.offset
                #expect(
                    again.all.contains(place) || (!isNew && settled.contains(place)),
                    "\(place) of \(line.offset) is passed over")
            }
        }
    }

    @Test func `a queue that is restored from a backup passes over nothing`() async throws {
        let folder = try TemporaryDirectory("group-backup")
        let broker = try Process(folder)
        let handled = Handled()
        let backups = try await Martlet.withClient(broker.configuration) { client in
            // A copy of more takes its time, in which more is handled.
            for number in 0..<20 { try await client.admin.createTopic("u\(number)") }
            try await client.admin.createTopic("t", partitions: Self.partitions)
            try await client.admin.createGroup("g", .queue(.earliest))
            try await client.admin.setFailurePolicy(
                FailurePolicy(breaker: BreakerPolicy(share: nil)), of: "g")
            let work = [
                Task { try await Self.produce(client, handled) },
                Task { try await Self.consume(client, handled) },
            ]
            defer { for one in work { one.cancel() } }
            let backups = try await Self.backUp(folder, client)
            for one in work { one.cancel() }
            for one in work { _ = await one.result }
            return backups
        }
        broker.kill()
        for backup in backups {
            let place = try TemporaryDirectory("group-restored")
            try Self.tool("restore", backup, place.path("data"))
            let restored = try Process(place)
            #expect(!restored.tellsOfGroupsAhead, "a group is ahead of its topic")
            try await Martlet.withClient(restored.configuration) { client in
                try await Self.expectWhole(client, handled)
            }
            restored.kill()
        }
    }
}
