import Glibc
import MartletFormat
import MartletGroups
import MartletJSON
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletTesting
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// Records of queues that retention is about to take, with the real broker.
@Suite(.timeLimit(.minutes(5))) struct RescueTests {
    /// A segment for each record.
    private struct Bench {
        let files = FaultyFileSystem()
        let sink = LogCapture()
        let harness: BrokerHarness
        let client: RawClient
        let topic: TopicID
        let queue: RawLetters

        init(
            records: Int = 6, settings: [(String, String)] = [],
            limits: (inout GroupLimits) -> Void = { _ in }
        ) throws {
            harness = try Self.harness(files, sink, limits: limits)
            client = try harness.hello()
            topic = try harness.makeTopic(
                client,
                settings: [("segment.bytes", "65536"), ("retention.bytes", "-1")] + settings)
            for _ in 0..<records {
                try #require(
                    try client.produce(topic, makeBatch(1, bytes: 60_000)).error == .none)
            }
            queue = try RawLetters(client)
            try #require(
                try queue.setPolicy(attempts: 9, backoff: 1_000, factor: 100) == ErrorCode.none)
        }

        static func harness(
            _ files: FaultyFileSystem, _ sink: LogCapture, _ directory: TemporaryDirectory? = nil,
            limits: (inout GroupLimits) -> Void = { _ in }
        ) throws -> BrokerHarness {
            try BrokerHarness(
                directory: directory,
                setUp: { setup in
                    setup.fileSystem = files
                    setup.logger = Logger(label: "test", level: .notice, sink: sink)
                    setup.groupLimits.plantedBug = CurrentProcess.environment["MARTLET_PLANT"]
                        .flatMap { PlantedGroupBug(rawValue: $0) }
                    limits(&setup.groupLimits)
                })
        }

        /// What the log says of each loss.
        var saidExpired: [String] {
            sink.lines.filter { $0.contains("RECORDS_EXPIRED") }.flatMap { line in
                line.split(separator: " ").filter { $0.hasPrefix("records=") }.map(String.init)
            }
        }

        /// From now on only the newest records stay.
        func shrink(to records: Int = 2) throws {
            var request = AlterTopicRequest()
            request.id = topic
            request.changes = [TopicSettingChange("retention.bytes", "\(records * 60_000 - 1_000)")]
            #expect(try client.ask(request).error == .none)
        }

        func retain(_ harness: BrokerHarness? = nil) throws -> Int64 {
            let engine = (harness ?? self.harness).broker.engine
            let log = try #require(engine.topic(named: "t")?.partition(0))
            log.upkeep { log.applyRetention() }
            return log.view.logStart
        }

        func retain(until start: Int64) throws {
            #expect(try eventually(seconds: 13) { try retain() == start })
        }

        /// What was visible, and what became of it.
        func checkAccounts(_ queue: RawLetters, _ visible: Int64) throws -> QueuePartitionLine {
            let line = try queue.line()
            #expect(
                line.acked + line.inFlight + line.ready + line.delayed + line.dead + line.expired
                    == visible)
            return line
        }
    }

    private func fails(_ queue: RawLetters, _ offsets: [Int64]) throws {
        let delivered = try queue.receive(UInt32(offsets.count))
        for offset in offsets {
            let range = try #require(
                delivered.first { ($0.range.from..<$0.range.to).contains(offset) })
            #expect(try queue.fail(range, offset, verb: 5, "Down", "no answer") == .none)
        }
    }

    @Test func `what a member had is a dead letter before retention takes it`() throws {
        let bench = try Bench()
        // Two fail, one is still at work, one is done, and nobody had the rest.
        let queue = bench.queue
        let delivered = try queue.receive(4)
        for offset in 0..<2 as Range<Int64> {
            #expect(try queue.fail(delivered[0], offset, verb: 5, "Down", "no answer") == .none)
        }
        var begin = queue.failed(delivered[0], 2, verb: 4, "", "")
        begin.verb = 4
        #expect(try queue.send([begin]) == [.none])
        #expect(try queue.settle(delivered[0], 3..<4) == .none)
        try bench.shrink(to: 1)
        try bench.retain(until: 5)
        #expect(try eventually(seconds: 13) { try queue.line().expired == 1 })
        let line = try bench.checkAccounts(queue, 6)
        #expect(line.dead == 3 && line.acked == 1 && line.expired == 1 && line.ready == 1)
        _ = try queue.waitForStored()
        let letters = try queue.letters()
        #expect(letters.map(\.offset) == [0, 1, 2])
        #expect(letters.allSatisfy { $0.reason == 4 && $0.attempts == 1 })
        #expect(try queue.letterRecord(letters[0]).value?.count ?? 0 > 50_000)
        // The member that was still at work is told no lie: the letter stays one.
        #expect(try queue.settle(delivered[0], 2..<3) == .leaseLost)
        #expect(try queue.settle(delivered[0], 3..<5) == .none)
        _ = try bench.checkAccounts(queue, 6)
        // They go back to the group as all dead letters do.
        #expect(try queue.replay(letters.map(\.number)) == [.none, .none, .none])
        for again in try queue.receiveAll(4) {
            #expect(try queue.settle(again, again.range.from..<again.range.to) == .none)
        }
        #expect(try bench.checkAccounts(queue, 6).acked == 5)
        #expect(bench.sink.lines.contains { $0.contains("RECORDS_RESCUED") })
        #expect(
            try eventually {
                try bench.harness.groupEvents(bench.client)
                    .filter { $0["type"] == "records.rescued" && $0["reason"] == "retention" }
                    .reduce(0) { $0 + ($1["count"]?.integerValue ?? 0) } == 3
            })
        #expect(
            bench.sink.lines.contains {
                $0.contains("RECORDS_EXPIRED") && $0.contains("records=1")
                    && $0.contains("group=q")
            })
        try bench.harness.stop()
    }

    @Test func `a crash between the copy and the deletion leaves the record once in the accounts`()
        throws
    {
        let bench = try Bench()
        try fails(bench.queue, [0, 1])
        try bench.shrink()
        // The copies are made, and the log's start cannot be moved.
        let marks = "marks"
        bench.files.set { ($0.writePath, $0.writeCode) = (marks, ENOSPC) }
        #expect(
            try eventually(seconds: 13) {
                _ = try bench.retain()
                return try bench.queue.letters().count == 2
            })
        #expect(try bench.queue.line().dead == 2)
        try bench.harness.stop()
        bench.files.set { $0.writeCode = 0 }
        let again = try Bench.harness(bench.files, bench.sink, bench.harness.directory)
        let queue = try RawLetters(try again.hello())
        #expect(try eventually(seconds: 13) { try bench.retain(again) == 4 })
        // The end may have moved the log's start: then the first who receives finds out.
        _ = try queue.receive(1)
        #expect(try eventually(seconds: 13) { try queue.line().expired == 2 })
        #expect(try bench.checkAccounts(queue, 6).dead == 2)
        #expect(try queue.letters().map(\.offset) == [0, 1])
        try again.stop()
    }

    @Test func `a group keeps no more than it may, and the rest expires loudly`() throws {
        let bench = try Bench { $0.rescueBytesMax = 130_000 }
        try fails(bench.queue, [0, 1, 2, 3])
        try bench.shrink()
        try bench.retain(until: 4)
        #expect(try eventually(seconds: 13) { try bench.queue.line().expired == 2 })
        #expect(try bench.checkAccounts(bench.queue, 6).dead == 2)
        #expect(bench.sink.lines.count { $0.contains("RESCUE_FULL") } == 1)
        // Room comes back with what somebody resolves.
        _ = try bench.queue.waitForStored()
        #expect(try bench.queue.resolve([1, 2]) == [.none, .none])
        try fails(bench.queue, [4])
        for _ in 0..<3 {
            _ = try bench.client.produce(bench.topic, makeBatch(1, bytes: 60_000))
        }
        try bench.retain(until: 7)
        #expect(try bench.queue.letters().map(\.offset) == [4])
        try bench.harness.stop()
    }

    @Test func `with no room for more dead letters retention goes on`() throws {
        let bench = try Bench { $0.lettersMax = 1 }
        try fails(bench.queue, [0, 1, 2])
        try bench.shrink()
        try bench.retain(until: 4)
        #expect(try eventually(seconds: 13) { try bench.queue.line().expired == 3 })
        #expect(try bench.checkAccounts(bench.queue, 6).dead == 1)
        try bench.harness.stop()
    }

    @Test func `more than may wait for the topic is copied in turns`() throws {
        let bench = try Bench(records: 12) { $0.waitingLetterBytesMax = 1 }
        try fails(bench.queue, Array(0..<10))
        try bench.shrink()
        try bench.retain(until: 10)
        #expect(try bench.checkAccounts(bench.queue, 12).dead == 10)
        try bench.harness.stop()
    }

    @Test func `a disk that takes no copies holds retention up only for a while`() throws {
        let bench = try Bench { $0.rescueMillisecondsMax = 300 }
        try fails(bench.queue, [0, 1])
        try bench.shrink()
        let state = try bench.queue.topic("$groups")
        bench.files.set { ($0.writePath, $0.writeCode) = ("\(state.id)", ENOSPC) }
        #expect(try bench.retain() == 0)
        try bench.retain(until: 4)
        #expect(bench.sink.lines.contains { $0.contains("RESCUE_GIVEN_UP") })
        bench.files.set { $0.writeCode = 0 }
        try bench.queue.waitForRoom()
        // A copy that was on its way may still come to the disk; nothing counts twice.
        #expect(
            try eventually(seconds: 13) {
                let line = try bench.checkAccounts(bench.queue, 6)
                return line.expired + line.dead == 4 && line.expired >= 2
            })
        try bench.harness.stop()
    }

    @Test func `what a person deletes is not copied`() throws {
        let bench = try Bench()
        try fails(bench.queue, [0, 1])
        var request = DeleteRecordsRequest()
        var entry = DeleteRecordsEntry()
        (entry.topic, entry.before) = (bench.topic, 3)
        request.entries = [entry]
        #expect(try bench.client.ask(request).error == .none)
        // At once: nobody has to receive first.
        #expect(try eventually { try bench.queue.line().expired == 3 })
        let line = try bench.checkAccounts(bench.queue, 6)
        #expect(line.dead == 0 && line.ready == 3)
        #expect(eventually { bench.saidExpired == ["records=3"] })
        try bench.harness.stop()
    }

    @Test func `what nobody had and what stream groups have not handled waits for nobody`() throws {
        let bench = try Bench()
        var create = CreateGroupRequest()
        create.group = "stream"
        #expect(try bench.client.ask(create).error == .none)
        try bench.shrink()
        // The queue has begun nothing: retention waits for no copies.
        try bench.retain(until: 4)
        #expect(try bench.queue.letters().isEmpty)
        // Nobody has received yet, and still it is told what it has lost.
        #expect(try eventually { try bench.queue.line().expired == 4 })
        let line = try bench.checkAccounts(bench.queue, 6)
        #expect(line.ready == 2 && line.start == 0)
        #expect(eventually { bench.saidExpired == ["records=4"] })
        try bench.harness.stop()
    }
}
