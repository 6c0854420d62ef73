import Glibc
import MartletFormat
import MartletGroups
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// Dead letters at the edges: a disk that fills in between, odd settings, large and hostile records.
@Suite struct DeadLetterEdgeTests {
    @Test func `a disk that fills between two dead letters has none of them twice`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        _ = try queue.waitForStored()
        let letters = try queue.topic("q.dlq")
        files.set {
            ($0.writePath, $0.writeCode, $0.writesBefore) = ("\(letters.id)", ENOSPC, 1)
        }
        let both = [1, 2].map { queue.failed(delivered, $0, verb: 6, "Broken", "both") }
        #expect(try queue.send(both) == [.none, .none])
        try queue.waitForEnd(of: letters.id, 2)
        files.set { $0.writeCode = 0 }
        _ = try queue.waitForStored()
        #expect(try queue.letters().map(\.place) == [0, 1, 2])
        #expect(try queue.end(of: letters.id) == 3)
        try harness.stop()
    }

    @Test func `no setting makes dead letters take each other's place`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        _ = try queue.waitForStored()
        var alter = AlterTopicRequest()
        alter.id = try queue.topic("q.dlq").id
        alter.changes = [TopicSettingChange("cleanup.policy", "compact")]
        #expect(try client.ask(alter).error == .invalidConfig)
        try harness.stop()
    }

    @Test func `large dead letters are saved in time, so that a start reads little`() throws {
        let harness = try BrokerHarness(setUp: { $0.groupLimits.snapshotRecordsMin = 1_000 })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("batch.bytes.max", "2MiB")])
        _ = try client.produce(topic, makeBatch(1, bytes: (2 << 20) - 200))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        _ = try queue.waitForStored()
        let logs = try #require(harness.broker.engine.topic(named: "$group-snapshots")).partitions
        #expect(eventually { logs.contains { $0.view.logEnd > 0 } })
        try harness.stop()
    }

    @Test func `a group on a dead letter topic stops, and makes no topic of its own`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        let queue = try RawLetters(client)
        let first = try #require(try queue.receive().first)
        #expect(try queue.fail(first, 0, verb: 6, "Broken", "it is") == .none)
        _ = try queue.waitForStored()
        let member = RawMember(client, 2, group: "r")
        #expect(try member.join(["q.dlq"], kind: 1) == .none)
        var receive = ReceiveRequest()
        (receive.group, receive.member) = ("r", member.id)
        (receive.maxRecords, receive.leaseMilliseconds) = (10, 60_000)
        let delivered = try #require(try client.ask(receive).delivered.first)
        var settle = SettleRequest()
        settle.group = "r"
        settle.entries = [queue.failed(delivered, 0, verb: 6, "Broken", "here, too")]
        #expect(try client.ask(settle).results.map(\.error) == [.none])
        var describe = DescribeGroupRequest()
        describe.group = "r"
        let group = try client.ask(describe)
        #expect(group.pauses.count == 1 && group.letters.dead == 0 && group.lag == 1)
        #expect(try client.ask(receive).delivered.isEmpty)
        #expect(try queue.topic("r.dlq").error == .unknownTopic)
        try harness.stop()
    }

    @Test func `a group that is made again goes on in the topic of the one before`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        for life in 0..<2 {
            let queue = try RawLetters(client)
            let delivered = try #require(try queue.receive().first)
            #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "life \(life)") == .none)
            let letter = try queue.waitForStored()
            #expect(letter.number == 1 && letter.place == Int64(2 * life))
            #expect(try queue.resolve([1]) == [.none])
            try queue.waitForEnd(of: try queue.topic("q.dlq").id, Int64(2 * life + 2))
            var leave = LeaveGroupRequest()
            (leave.group, leave.member) = ("q", queue.member.id)
            #expect(try client.ask(leave).error == .none)
            var delete = DeleteGroupRequest()
            delete.group = "q"
            // The topic has it, and `$groups` is about to say so.
            #expect(try eventually { try client.ask(delete).error == .none })
        }
        try harness.stop()
    }

    /// What is largest in each field, with a record as large as any topic takes.
    private func largest() -> LetterEntry {
        let text = String(repeating: "\u{1}", count: 1_000)
        let name = String(repeating: "\u{1}", count: 200)
        let failure = HandlerFailure(.transient, kind: name, text: text, at: .max)
        let origin = RecordPlace(
            .replay(TopicPartition(TopicID(high: .max, low: .max), .max)), .max - 2)
        var entry = LetterEntry(
            .died, number: 1 << 62, letter: 1, origin: origin,
            trail: FailureTrail(first: failure, last: failure), at: .max)
        entry.topicName = String(repeating: "t", count: 249)
        entry.client = String(repeating: "\u{1}", count: WireLimits.textBytesMax)
        (entry.author, entry.note, entry.assignee) = (name, text, name)
        (entry.attempts, entry.deaths) = (.max, .max)
        entry.body = Array(repeating: 7, count: 8 << 20)
        return entry
    }

    @Test func `the largest entry fits in all that has to take it`() throws {
        let entry = largest()
        let most = BatchScanner.batchBytesMax
        for change in [LetterChange.entry(entry), .waiting(entry)] {
            let record = GroupRecord.letter(group: String(repeating: "g", count: 245), change)
            let (slab, header) = try InternalBatch.encode([GroupEntry(record)], time: 0)
            #expect(header.byteCount <= most)
            var cursor = RecordCursor(header)
            let fields = try #require(try cursor.next(in: slab.span(0..<slab.count)))
            let value = try #require(fields.value)
            #expect(try GroupEntry(reading: slab, value).record == record)
        }
        var traced = DeadRecord(at: 0)
        let trace = "00-\(String(repeating: "0af7", count: 8))-b7ad6b7169203331-01"
        traced.headers = [(TraceParent.header, Array(trace.utf8))]
        let (_, note) = DeadLetterNote.header(
            of: entry, traced, String(repeating: "g", count: 245), createdAt: .max)
        let value = try #require(note)
        #expect((8 << 20) + value.count + 64 <= most)
    }

    @Test func `dead letters that no broker writes are passed over`() throws {
        func isTaken(_ record: GroupRecord) throws -> Bool {
            let (slab, header) = try InternalBatch.encode([GroupEntry(record)], time: 0)
            var cursor = RecordCursor(header)
            let fields = try #require(try cursor.next(in: slab.span(0..<slab.count)))
            return try GroupEntry(reading: slab, try #require(fields.value)).record != nil
        }
        func isTaken(_ change: LetterChange) throws -> Bool {
            try isTaken(.letter(group: "q", change))
        }
        var entry = largest()
        entry.body = []
        let lane = entry.origin.partition
        #expect(try isTaken(.entry(entry)) && isTaken(.stored(1, in: lane, at: 7)))
        entry.number = .max
        #expect(try !isTaken(.entry(entry)) && !isTaken(.waiting(entry)))
        #expect(try !isTaken(.stored(.max, in: lane, at: 7)))
        #expect(try !isTaken(.stored(1, in: lane, at: .max)))
        for offset in [Int64.min, -1, .max] {
            let place = RecordPlace(.replay(lane), offset)
            let odd = LetterEntry(
                .died, number: 1, letter: 1, origin: place, trail: entry.trail, at: 0)
            #expect(try !isTaken(.entry(odd)))
            let letter = Letter(
                number: 1, origin: place, reason: .permanent, attempts: 0, deaths: 0, diedAt: 0)
            #expect(try !isTaken(.restored(letter)))
            let failed = QueueChange.failed(offset, entry.trail)
            #expect(try !isTaken(.queue(group: "q", .replay(lane), failed)))
        }
        var letter = Letter(
            number: 1, origin: entry.origin, reason: .permanent, attempts: 0, deaths: 0, diedAt: 0)
        #expect(try isTaken(.restored(letter)))
        letter.place = .max
        #expect(try !isTaken(.restored(letter)))
        (letter.place, letter.lastPlace) = (7, .max)
        #expect(try !isTaken(.restored(letter)))
    }

    @Test func `the largest words about as many letters as one may name make one batch`() throws {
        var entry = largest()
        (entry.kind, entry.body) = (.commented, [])
        // Of no failure: those are in the entry that it died with.
        let nothing = HandlerFailure(.rejected, kind: "", text: "", at: .max)
        entry.trail = FailureTrail(first: nothing, last: nothing)
        entry.client = ""
        let record = GroupRecord.letter(group: String(repeating: "g", count: 245), .entry(entry))
        let records = Array(repeating: GroupEntry(record), count: WireLimits.remarkedLettersMax)
        #expect(try GroupBatch.parts(records).count == 1)
    }
}
