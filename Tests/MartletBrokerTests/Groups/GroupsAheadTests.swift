import Glibc
import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// A start on files of different moments, as a copy by hand of a running broker's makes them: groups
/// know of more than their topic has. What is appended then is not taken for what they had.
@Suite struct GroupsAheadTests {
    private let early: TemporaryDirectory
    private let late: TemporaryDirectory
    private let sink = LogCapture()

    init() throws {
        early = try TemporaryDirectory("ahead-early")
        late = try TemporaryDirectory("ahead-late")
    }

    private func start(_ directory: TemporaryDirectory) throws -> BrokerHarness {
        try BrokerHarness(
            directory: directory,
            setUp: { $0.logger = Logger(label: "test", level: .notice, sink: sink) })
    }

    private func lines(_ code: String) -> [String] { sink.lines.filter { $0.contains(code) } }

    /// Five records, then five more; `handle` does with a group what it likes, before and after.
    /// Returns the topic: it is as it was in between, and the groups are as they were in the end.
    private func mix(
        _ handle: (RawClient, TopicID, _ end: Int64) throws -> Void
    ) throws -> TopicID {
        var topic = TopicID.zero
        for end in [Int64(5), 10] {
            let harness = try start(late)
            let client = try harness.hello()
            if end == 5 { topic = try harness.makeTopic(client) }
            _ = try client.produce(topic, makeBatch(5))
            try handle(client, topic, end)
            let groups = ["$groups", "$group-snapshots"].compactMap {
                harness.broker.engine.topic(named: $0)?.id
            }
            #expect(groups.count == 2)
            try harness.stop()
            let data = end == 5 ? early.path("data") : early.path("groups")
            _ = try Backup(from: late.path("data"), to: data, PosixFileSystem(), links: false).run()
            guard end == 10 else { continue }
            for id in groups {
                let place = "\(early.path("data"))/topics/\(id)"
                TemporaryDirectory.removeTree(place)
                #expect(unsafe rename("\(data)/topics/\(id)", place) == 0)
            }
        }
        return topic
    }

    private func end(of topic: TopicID, _ client: RawClient) throws -> Int64 {
        let reply = try client.ask(fetchRequest(topic, from: 0))
        return try #require(reply.partitions.first).highWatermark
    }

    private func isExact(_ line: QueuePartitionLine, end: Int64) -> Bool {
        line.acked + line.expired + line.dead + line.inFlight + line.delayed + line.parked
            + line.ready == end - line.start
    }

    // MARK: - Queues

    @Test func `what is appended to a topic that a queue is ahead of is handed out`() throws {
        let topic = try mix { client, _, end in
            let queue = try RawLetters(client)
            for delivered in try queue.receiveAll(5) {
                let range = delivered.range.from..<min(delivered.range.to, 8)
                #expect(try queue.settle(delivered, range) == .none)
                guard delivered.range.to > 8 else { continue }
                #expect(try queue.fail(delivered, 8, verb: 5, "Late", "not yet") == .none)
            }
            #expect(try queue.line().acked == min(end, 8))
        }
        for round in 0..<2 {
            let harness = try start(early)
            let client = try harness.hello()
            // Told once, and kept.
            let told = lines("GROUPS_AHEAD")
            #expect(told.count == 1 && told.allSatisfy { $0.contains("from=5 to=9") }, "\(told)")
            let doctor = try client.ask(DoctorRequest()).findings.map(\.code)
            #expect(doctor.contains("groups-ahead") == (round == 0))
            #expect(try end(of: topic, client) == (round == 0 ? 9 : 12))
            if round == 0 { #expect(try client.produce(topic, makeBatch(3)).baseOffset == 9) }
            let queue = try RawLetters(client)
            var offsets: Set<Int64> = []
            while !offsets.isSuperset(of: 9..<12) {
                let found = try queue.receive(wait: 20_000)
                try #require(!found.isEmpty, "\(offsets)")
                for one in found { offsets.formUnion(one.range.from..<one.range.to) }
            }
            #expect(offsets.isDisjoint(with: 0..<8))
            let line = try queue.line()
            #expect(line.acked == 8 && isExact(line, end: 12), "\(line)")
            try harness.stop()
        }
        #expect(lines("GROUP_SET_BACK").isEmpty)
    }

    // MARK: - Streams

    @Test func `what is appended to a topic that a stream is ahead of is read`() throws {
        let topic = try mix { client, _, end in
            let member = RawMember(client, 1)
            try member.join()
            try member.waitForChange()
            #expect(try member.commit(member.owned[0], end) == .none)
        }
        let harness = try start(early)
        let client = try harness.hello()
        // As soon as it is durable.
        #expect(eventually { !lines("GROUP_SET_BACK").isEmpty })
        let told = lines("GROUP_SET_BACK")
        #expect(told.count == 1, "\(told)")
        let findings = try client.ask(DoctorRequest()).findings.filter { $0.code == "groups-ahead" }
        #expect(findings.count == 1 && findings.allSatisfy { $0.text.contains("group g ") })
        let line = told.first ?? ""
        #expect(line.contains("group=g topic=t partition=0 from=10 to=5"), "\(line)")
        #expect(lines("GROUPS_AHEAD").isEmpty)
        #expect(try client.produce(topic, makeBatch(2)).baseOffset == 5)
        // The member lives on, and had the partition under another epoch.
        let member = RawMember(client, 1)
        try member.join()
        while member.owned.isEmpty { try member.waitForChange() }
        let owned = member.owned[0]
        #expect(owned.committed.offset == 5)
        #expect(try member.fetch(owned, from: 5).recordsLength > 0)
        var former = owned
        former.owned.epoch -= 1
        #expect(try member.commit(former, 7) == .staleMemberEpoch)
        #expect(try member.commit(owned, 7) == .none)
        var describe = DescribeGroupRequest()
        describe.group = "g"
        #expect(try client.ask(describe).partitions.map(\.committed.offset) == [7])
        try harness.stop()
    }

    @Test func `a start in order sets nothing back, and passes nothing over`() throws {
        _ = try mix { client, _, end in
            let queue = try RawLetters(client)
            for delivered in try queue.receiveAll(5) {
                let range = delivered.range
                #expect(try queue.settle(delivered, range.from..<range.to) == .none)
            }
            let member = RawMember(client, 1)
            try member.join()
            try member.waitForChange()
            #expect(try member.commit(member.owned[0], end) == .none)
        }
        let harness = try start(late)
        // What a start records comes before what anybody is answered.
        var describe = DescribeGroupRequest()
        describe.group = "g"
        let committed = try harness.hello().ask(describe).partitions.map(\.committed.offset)
        #expect(committed == [10])
        #expect(lines("AHEAD").isEmpty && lines("SET_BACK").isEmpty)
        try harness.stop()
    }
}
