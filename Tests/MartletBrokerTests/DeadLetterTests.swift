import Glibc
import MartletFormat
import MartletGroups
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// Records that handlers fail with, over the wire, with the real broker.
@Suite struct DeadLetterTests {
    @Test func `what fails for ever becomes a dead letter with all that it had`() throws {
        let harness = try Self.harness(FaultyFileSystem())
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(delivered.range == OffsetRange(0, 3))
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "it is") == .none)
        #expect(try queue.settle(delivered, 0..<1) == .none)
        #expect(try queue.settle(delivered, 2..<3) == .none)
        let letter = try queue.waitForStored()
        #expect(letter.number == 1 && letter.offset == 1 && letter.reason == 1)
        #expect(letter.attempts == 1 && letter.deaths == 1 && letter.state == 0)
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 1 && line.lag == 0 && line.floor == 3)
        let record = try queue.letterRecord(letter)
        let original = try queue.record(topic, 1)
        #expect(record.key == original.key && record.value == original.value)
        #expect(record.headers.count == original.headers.count + 1)
        #expect(record.timestamp == original.timestamp)
    }

    @Test func `F-51 what always fails is tried so often and then set aside`() throws {
        let harness = try Self.harness(FaultyFileSystem())
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let queue = try RawLetters(client)
        #expect(try queue.setPolicy(attempts: 3, backoff: 1, factor: 200) == .none)
        for attempt in 0..<3 {
            let delivered = try #require(try queue.receive(wait: 5_000).first)
            #expect(delivered.attempts == UInt32(attempt))
            if attempt == 0 { #expect(try queue.settle(delivered, 1..<3) == .none) }
            #expect(try queue.fail(delivered, 0, verb: 5, "Timeout", "no \(attempt)") == .none)
        }
        let letter = try queue.waitForStored()
        #expect(letter.reason == 2 && letter.attempts == 3)
        #expect(try queue.receive().isEmpty)
    }

    @Test func `a replay comes beside the flow, and is handled or dies again`() throws {
        let harness = try Self.harness(FaultyFileSystem())
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        #expect(try queue.fail(delivered, 1, verb: 7, "Aside", "second") == .none)
        var letter = try queue.waitForStored()
        #expect(try queue.replay([1, 9]) == [.none, .unknownDeadLetter])
        let again = try #require(try queue.receive(wait: 5_000).first)
        #expect(again.topic != topic && again.attempts == 0)
        #expect(try queue.line().inFlight == 1)
        #expect(try queue.fail(again, again.range.from, verb: 6, "Broken", "again") == .none)
        letter = try queue.waitForStored()
        #expect(letter.number == 1 && letter.deaths == 2 && letter.replays == 1)
        #expect(try queue.replay([1], max: 1) == [.deadLetterQuarantined])
        #expect(try queue.replay([1, 2]) == [.none, .none])
        for delivered in try queue.receiveAll(2) {
            #expect(try queue.settle(delivered, delivered.range.from..<delivered.range.to) == .none)
        }
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 0 && line.inFlight == 0)
        #expect(try queue.letters().isEmpty)
    }

    @Test func `a crash between the two writes of a dead letter loses nothing and shows it once`()
        throws
    {
        let files = FaultyFileSystem()
        let harness = try Self.harness(files)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        _ = try queue.waitForStored()
        // The topic gets the second one, and `$groups` cannot say so.
        let state = try queue.topic("$groups")
        let letters = try queue.topic("q.dlq")
        files.set { ($0.writePath, $0.writeCode) = ("\(letters.id)", ENOSPC) }
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "second") == .none)
        #expect(try queue.letters().count == 2)
        files.set { ($0.writePath, $0.writeCode) = ("\(state.id)", ENOSPC) }
        try queue.waitForEnd(of: letters.id, 2)
        #expect(try queue.letters().map(\.place) == [0, -1])
        try harness.stop()
        files.set { $0.writeCode = 0 }
        let again = try Self.harness(files, harness.directory)
        let after = try RawLetters(try again.hello())
        _ = try after.waitForStored()
        #expect(try after.letters().map(\.place) == [0, 1])
        #expect(try after.end(of: letters.id) == 2)
        try again.stop()
    }

    @Test func `F-50 with no room for the decision the record stays with its member`() throws {
        let files = FaultyFileSystem()
        let harness = try Self.harness(files)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        let state = try queue.topic("$groups")
        files.set { ($0.writePath, $0.writeCode) = ("\(state.id)", ENOSPC) }
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .diskFull)
        let line = try queue.line()
        #expect(line.dead == 0 && line.inFlight == 1)
        files.set { $0.writeCode = 0 }
        try queue.waitForRoom()
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        #expect(try queue.waitForStored().offset == 0)
        try harness.stop()
    }

    @Test func `F-50 with no room in their topic dead letters wait, and count`() throws {
        let files = FaultyFileSystem()
        let harness = try Self.harness(files)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        _ = try queue.waitForStored()
        let letters = try queue.topic("q.dlq")
        files.set { ($0.writePath, $0.writeCode) = ("\(letters.id)", ENOSPC) }
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "second") == .none)
        let line = try queue.line()
        #expect(line.dead == 2 && line.inFlight == 0 && line.lag == 0)
        #expect(try queue.replay([2]) == [.deadLetterBusy])
        files.set { $0.writeCode = 0 }
        _ = try queue.waitForStored()
        #expect(try queue.letters().map(\.place) == [0, 1])
        try harness.stop()
    }

    @Test func `the largest record dies whole`() throws {
        let harness = try Self.harness(FaultyFileSystem())
        let client = try harness.hello()
        let topic = try harness.makeTopic(
            client, settings: [("batch.bytes.max", "8MiB")])
        let batch = makeBatch(1, bytes: (8 << 20) - 200)
        #expect(try client.produce(topic, batch).error == .none)
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        let letter = try queue.waitForStored()
        #expect(try queue.letterRecord(letter).value?.count == (8 << 20) - 200)
        try harness.stop()
    }

    private static func harness(
        _ files: FaultyFileSystem, _ directory: TemporaryDirectory? = nil
    ) throws -> BrokerHarness {
        try BrokerHarness(
            directory: directory,
            setUp: { setup in
                setup.fileSystem = files
                setup.groupLimits.plantedBug = CurrentProcess.environment["MARTLET_PLANT"]
                    .flatMap { PlantedGroupBug(rawValue: $0) }
            })
    }
}

/// A member of the queue group `q` whose handlers fail.
private struct RawLetters {
    let client: RawClient
    let member: RawMember

    init(_ client: RawClient) throws {
        self.client = client
        member = RawMember(client, 1, group: "q")
        #expect(try member.join(kind: 1) == .none)
    }

    func receive(_ records: UInt32 = 100, wait: UInt32 = 0) throws -> [DeliveredRange] {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = member.id
        request.maxRecords = records
        request.leaseMilliseconds = 60_000
        request.maxWaitMilliseconds = wait
        let reply = try client.ask(request)
        #expect(reply.error == .none, "\(reply.message)")
        return reply.delivered
    }

    func receiveAll(_ count: Int) throws -> [DeliveredRange] {
        var all: [DeliveredRange] = []
        while all.reduce(0, { $0 + Int($1.range.to - $1.range.from) }) < count {
            let found = try receive(wait: 5_000)
            guard !found.isEmpty else { break }
            all += found
        }
        return all
    }

    private func send(_ entry: SettleEntry) throws -> ErrorCode {
        var request = SettleRequest()
        request.group = "q"
        request.entries = [entry]
        let reply = try client.ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }

    private func entry(_ delivered: DeliveredRange, _ range: Range<Int64>) -> SettleEntry {
        var entry = SettleEntry()
        entry.topic = delivered.topic
        entry.partition = delivered.partition
        entry.range = OffsetRange(range.lowerBound, range.upperBound)
        entry.delivery = delivered.delivery
        entry.verb = 1
        return entry
    }

    func settle(_ delivered: DeliveredRange, _ range: Range<Int64>) throws -> ErrorCode {
        try send(entry(delivered, range))
    }

    func fail(
        _ delivered: DeliveredRange, _ offset: Int64, verb: UInt8, _ failure: String,
        _ text: String
    ) throws -> ErrorCode {
        var entry = entry(delivered, offset..<(offset + 1))
        (entry.verb, entry.failure, entry.text) = (verb, failure, text)
        return try send(entry)
    }

    func setPolicy(attempts: UInt16, backoff: Int64, factor: Int32) throws -> ErrorCode {
        var request = SetFailurePolicyRequest()
        request.group = "q"
        request.policy.attemptsMax = attempts
        request.policy.backoffMilliseconds = backoff
        request.policy.backoffFactorPercent = factor
        request.policy.backoffMaxMilliseconds = 1_000
        return try client.ask(request).error
    }

    func letters() throws -> [DeadLetterLine] {
        var request = ListDeadLettersRequest()
        request.group = "q"
        return try client.ask(request).letters
    }

    /// The first of them, once the topic has them all.
    func waitForStored() throws -> DeadLetterLine {
        for _ in 0..<20_000 {
            let letters = try letters()
            if !letters.isEmpty, letters.allSatisfy({ $0.place >= 0 }) { return letters[0] }
        }
        throw Missing.deadLetter
    }

    func topic(_ name: String) throws -> TopicMetadata {
        var request = MetadataRequest()
        request.names = [TopicNameItem(name)]
        return try #require(try client.ask(request).topics.first)
    }

    /// The broker looks at its disk once a second.
    func waitForRoom() throws {
        for _ in 0..<20_000 where try client.ask(StatusRequest()).writable { return }
        throw Missing.room
    }

    func end(of topic: TopicID) throws -> Int64 {
        let reply = try client.ask(fetchRequest(topic, from: 0))
        return try #require(reply.partitions.first).highWatermark
    }

    func waitForEnd(of topic: TopicID, _ end: Int64) throws {
        for _ in 0..<20_000 where try self.end(of: topic) >= end { return }
        throw Missing.deadLetter
    }

    func replay(_ numbers: [UInt64], max: UInt16 = 0) throws -> [ErrorCode] {
        var request = ReplayDeadLettersRequest()
        request.group = "q"
        request.replaysMax = max
        request.letters = numbers.map { DeadLetterNumber($0) }
        return try client.ask(request).results.map(\.error)
    }

    func line() throws -> QueuePartitionLine {
        var request = DescribeGroupRequest()
        request.group = "q"
        return try #require(try client.ask(request).queues.first)
    }

    /// What lies there.
    func record(_ topic: TopicID, _ offset: Int64) throws -> DeadRecord {
        try client.send(try fetchRequest(topic, from: offset).frame(correlation: 77))
        let slab = try client.receive(FetchReply.self).attachment
        let header = try RecordBatchHeader(reading: slab.bytes, at: 0)
        var cursor = RecordCursor(header)
        while let fields = try cursor.next(in: slab.span(0..<header.byteCount)) {
            let place = InternalLog.Place(
                slab: slab, batch: 0..<header.byteCount, header: header, fields: fields)
            if place.offset == offset { return try DeadRecord(place) }
        }
        throw FormatError.invalid(field: "offset", at: 0, reason: "\(offset) is not there")
    }

    func letterRecord(_ letter: DeadLetterLine) throws -> DeadRecord {
        try record(try topic("q.dlq").id, letter.place)
    }
}

private enum Missing: Error {
    case deadLetter
    case room
}
