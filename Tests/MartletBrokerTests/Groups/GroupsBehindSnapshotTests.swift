import Glibc
import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// `$groups` ends below what its newest snapshot covers: its files are older, or their end is gone.
/// The state is the snapshot's, and what is recorded from then on is read by the starts that follow.
@Suite struct GroupsBehindSnapshotTests {
    private static let records: Int64 = 130
    /// A snapshot after so many.
    private static let period = 20

    private let early: TemporaryDirectory
    private let late: TemporaryDirectory
    private let sink = LogCapture()

    init() throws {
        early = try TemporaryDirectory("behind-early")
        late = try TemporaryDirectory("behind-late")
    }

    private func start(_ directory: TemporaryDirectory) throws -> BrokerHarness {
        try BrokerHarness(
            directory: directory,
            setUp: {
                $0.groupLimits.snapshotRecordsMin = Self.period
                $0.logger = Logger(label: "test", level: .notice, sink: sink)
            })
    }

    private func lines(_ code: String) -> [String] { sink.lines.filter { $0.contains(code) } }

    /// Settles records one by one, each with a record of its own.
    private func settle(_ queue: RawLetters, _ count: Int) throws -> Set<Int64> {
        var settled: Set<Int64> = []
        while settled.count < count {
            let found = try queue.receive(1, wait: 20_000)
            let one = try #require(found.first, "after \(settled.count)")
            #expect(try queue.settle(one, one.range.from..<one.range.to) == .none)
            settled.insert(one.range.from)
        }
        return settled
    }

    /// A stream that commits and a queue that settles, each with several snapshots. `early` has
    /// `$groups` as it was after the first of it.
    private func prepare() throws -> (topic: TopicID, settled: Set<Int64>) {
        var topic = TopicID.zero
        var settled: Set<Int64> = []
        for isFirst in [true, false] {
            let harness = try start(late)
            let client = try harness.hello()
            if isFirst {
                topic = try harness.makeTopic(client)
                _ = try client.produce(topic, makeBatch(Int(Self.records)))
                var create = CreateGroupRequest()
                create.group = "g"
                #expect(try client.ask(create).error == .none)
                #expect(try client.commit(topic, 1) == .none)
            }
            settled.formUnion(try settle(try RawLetters(client), isFirst ? 1 : 99))
            if !isFirst {
                for offset in 2...Int64(100) { #expect(try client.commit(topic, offset) == .none) }
            }
            try harness.stop()
            guard isFirst else { continue }
            let data = (late.path("data"), early.path("data"))
            _ = try Backup(from: data.0, to: data.1, PosixFileSystem(), links: false).run()
        }
        return (topic, settled)
    }

    /// The older `$groups` beside the newer snapshots and topic.
    private func mix(_ topic: TopicID) throws {
        let harness = try start(late)
        let snapshots = try #require(harness.broker.engine.topic(named: "$group-snapshots")).id
        try harness.stop()
        for id in [topic, snapshots] {
            let place = "\(early.path("data"))/topics/\(id)"
            TemporaryDirectory.removeTree(place)
            #expect(unsafe rename("\(late.path("data"))/topics/\(id)", place) == 0)
        }
    }

    /// The broker starts on what is left, three times. Returns what it told each time.
    private func check(
        _ directory: TemporaryDirectory, _ topic: TopicID, _ settled: Set<Int64>
    ) throws -> [[String]] {
        var handed: Set<Int64> = []
        var told: [[String]] = []
        for round in 0..<3 {
            let before = sink.lines.count
            let harness = try start(directory)
            let client = try harness.hello()
            told.append(Array(sink.lines.dropFirst(before)))
            // No more is lost than what came after the snapshot.
            let known = try client.committed()
            #expect((round == 0 ? 51...100 : Int64(3 + round)...Int64(3 + round)).contains(known))
            // What is said now counts at the next start.
            #expect(try client.commit(topic, Int64(4 + round)) == .none)
            let queue = try RawLetters(client)
            if round == 0 { #expect((51...100).contains(try queue.line().acked)) }
            let again = try settle(queue, 10)
            #expect(again.isDisjoint(with: handed), "handed out after it was settled")
            handed.formUnion(again)
            let line = try queue.line()
            #expect(
                line.acked + line.inFlight + line.delayed + line.ready == Self.records, "\(line)")
            let doctor = try client.ask(DoctorRequest()).findings.map(\.code)
            told[round] += doctor.map { "doctor: \($0)" }
            try harness.stop()
        }
        // Nothing of what the snapshot had comes again.
        #expect(handed.intersection(settled).count < 50)
        return told
    }

    @Test func `groups whose log is older than their snapshot go on from it`() throws {
        let (topic, settled) = try prepare()
        try mix(topic)
        let told = try check(early, topic, settled)
        // Of the two groups, once.
        let ahead = told.map { $0.filter { $0.contains("GROUPS_AHEAD") } }
        #expect(ahead.map(\.count) == [2, 0, 0], "\(told)")
        #expect(ahead.joined().allSatisfy { $0.contains("\"$groups\"") }, "\(told)")
        #expect(told.map { $0.contains("doctor: groups-ahead") } == [true, false, false])
    }

    /// The marks beside the log still tell where it ended.
    @Test func `groups whose log was cut below their snapshot go on from it`() throws {
        let (topic, settled) = try prepare()
        let harness = try start(late)
        let logs = try #require(harness.broker.engine.topic(named: "$groups")).partitions
        let places = logs.filter { $0.view.logEnd > 0 }.map { "\($0.topicID)/\($0.partition)" }
        try harness.stop()
        let disk = PosixFileSystem()
        for place in places {
            let folder = late.path("data/topics/\(place)")
            let name = try #require(try disk.list(folder).filter { $0.hasSuffix(".log") }.max())
            let file = try disk.open("\(folder)/\(name)", .readWrite)
            try file.truncate(to: try file.size() / 4)
        }
        let told = try check(late, topic, settled)
        // Each start comes upon it, and says so.
        for lines in told {
            let damaged = lines.filter { $0.contains("GROUPS_DAMAGED") }
            #expect(damaged.count == 2 && damaged.allSatisfy { $0.contains("\"$groups\"") })
            #expect(lines.contains("doctor: damage"))
        }
    }
}
