import MartletBroker
import MartletFormat
import MartletGroups
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletStorage

/// A member of the queue group `q`, which hands out one record of a key at a time.
private struct OrderedMember {
    let client: RawClient
    let member: RawMember

    init(_ client: RawClient, _ number: UInt64) throws {
        self.client = client
        member = RawMember(client, number, group: "q")
        #expect(try member.join(kind: 3) == .none)
    }

    /// All offsets that it is handed, with their deliveries; waits for at least one.
    func receive(_ records: UInt32 = 100, wait: UInt32 = 20_000) throws -> [Int64: DeliveredRange] {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = member.id
        request.maxRecords = records
        request.leaseMilliseconds = 60_000
        request.maxWaitMilliseconds = wait
        let reply = try client.ask(request)
        #expect(reply.error == .none, "\(reply.message)")
        var found: [Int64: DeliveredRange] = [:]
        for range in reply.delivered {
            for offset in range.range.from..<range.range.to { found[offset] = range }
        }
        return found
    }

    func settle(
        _ found: [Int64: DeliveredRange], _ offset: Int64, verb: UInt8, _ milliseconds: Int64 = 0
    ) throws -> ErrorCode {
        let delivered = try #require(found[offset])
        var entry = SettleEntry()
        (entry.topic, entry.partition) = (delivered.topic, delivered.partition)
        (entry.lane, entry.delivery) = (delivered.lane, delivered.delivery)
        entry.range = OffsetRange(offset, offset + 1)
        (entry.verb, entry.milliseconds) = (verb, milliseconds)
        (entry.failure, entry.text) = ("Broken", "it is")
        var request = SettleRequest()
        request.group = "q"
        request.entries = [entry]
        let reply = try client.ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }

    func setPolicy(_ last: UInt8) throws -> ErrorCode {
        var request = SetFailurePolicyRequest()
        request.group = "q"
        request.policy.attemptsMax = 3
        request.policy.backoffMilliseconds = 1
        request.policy.backoffFactorPercent = 100
        request.policy.backoffMaxMilliseconds = 1_000
        request.policy.last = last
        return try client.ask(request).error
    }

    func parked(max: UInt32 = 0, after last: ParkedRecordLine? = nil) throws -> ListParkedReply {
        var request = ListParkedRequest()
        request.group = "q"
        request.max = max
        if let last {
            (request.topic, request.partition) = (last.topic, last.partition)
            request.offset = last.offset
        }
        return try client.ask(request)
    }

    func release(_ topic: TopicID, _ offsets: [Int64]) throws -> [ErrorCode] {
        var request = ReleaseParkedRequest()
        request.group = "q"
        request.places = offsets.map { offset in
            var place = ParkedPlace()
            (place.topic, place.offset) = (topic, offset)
            return place
        }
        return try client.ask(request).results.map(\.error)
    }

    func line() throws -> QueuePartitionLine {
        var request = DescribeGroupRequest()
        request.group = "q"
        return try #require(try client.ask(request).queues.first)
    }
}

/// Queue groups in order by key, and parked records, over the wire with the real broker.
@Suite(.timeLimit(.minutes(2))) struct OrderedQueueTests {
    @Test func `of each key one record is out, over nacks, members and a restart`() throws {
        let directory = try TemporaryDirectory("ordered")
        var harness = try BrokerHarness(
            directory: directory, setUp: { $0.groupLimits.snapshotRecordsMin = 3 })
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeKeyed(["a", "b", "a", nil, "b", "a"]))
        let first = try OrderedMember(client, 1)
        var second = try OrderedMember(try harness.hello(), 2)
        let one = try first.receive(2)
        #expect(one.keys.sorted() == [0, 1])
        var two = try second.receive()
        #expect(two.keys.sorted() == [3])
        #expect(try second.receive(wait: 0).isEmpty)
        // Done: the next of its key is anybody's. Given back: nobody's yet.
        #expect(try first.settle(one, 0, verb: 1) == .none)
        #expect(try first.settle(one, 1, verb: 2, 100) == .none)
        two.merge(try second.receive()) { $1 }
        #expect(two.keys.sorted() == [2, 3])
        let again = try first.receive()
        #expect(again.keys.sorted() == [1])
        // Its member goes: its records are others', and still one of a key.
        var leave = LeaveGroupRequest()
        (leave.group, leave.member) = ("q", first.member.id)
        #expect(try first.client.ask(leave).error == .none)
        two.merge(try second.receive()) { $1 }
        #expect(two.keys.sorted() == [1, 2, 3])
        #expect(try second.settle(two, 1, verb: 1) == .none)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        second = try OrderedMember(client, 3)
        var found = try second.receive()
        #expect(found.keys.sorted() == [2, 3, 4])
        _ = try client.produce(topic, makeKeyed(["b", "c"]))
        found.merge(try second.receive()) { $1 }
        #expect(found.keys.sorted() == [2, 3, 4, 7])
        for (done, next) in [(2, 5), (4, 6)] as [(Int64, Int64)] {
            #expect(try second.settle(found, done, verb: 1) == .none)
            found.merge(try second.receive()) { $1 }
            #expect(found[next] != nil)
        }
        for offset: Int64 in [3, 5, 6, 7] {
            #expect(try second.settle(found, offset, verb: 1) == .none)
        }
        let line = try second.line()
        #expect(line.acked == 8 && line.lag == 0 && line.floor == 8)
        try harness.stop()
    }

    @Test func `a waiting receive hears of the next record of a key`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeKeyed(["a", "a"]))
        let first = try OrderedMember(client, 1)
        let second = try OrderedMember(try harness.hello(), 2)
        let one = try first.receive()
        #expect(one.keys.sorted() == [0])
        var request = ReceiveRequest()
        (request.group, request.member) = ("q", second.member.id)
        (request.maxRecords, request.leaseMilliseconds) = (10, 60_000)
        request.maxWaitMilliseconds = 20_000
        try second.client.send(try request.frame(correlation: 7))
        #expect(try first.settle(one, 0, verb: 1) == .none)
        let delivered = try second.client.receive(ReceiveReply.self).reply.delivered
        #expect(delivered.map(\.range) == [OffsetRange(1, 2)])
        try harness.stop()
    }

    @Test func `thousands of records of many keys come in the order of their keys`() throws {
        let harness = try BrokerHarness(setUp: { $0.groupLimits.windowKeysMax = 4_096 })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        var random = SeededRandom(seed: 19)
        let keys = (0..<6_000).map { _ in
            random.chance(1, in: 10) ? nil : "k\(random.below(50) < 25 ? 0 : random.below(50))"
        }
        for first in stride(from: 0, to: 6_000, by: 500) {
            _ = try client.produce(topic, makeKeyed(Array(keys[first..<(first + 500)])))
        }
        let member = try OrderedMember(client, 1)
        // Of each key its offsets, the next one last.
        var left: [String: [Int64]] = [:]
        for (offset, key) in keys.enumerated().reversed() {
            if let key { left[key, default: []].append(Int64(offset)) }
        }
        var done = 0
        while done < keys.count {
            let found = try member.receive(1_000)
            guard !found.isEmpty else { break }
            for offset in found.keys {
                guard let key = keys[Int(offset)] else { continue }
                #expect(left[key]?.popLast() == offset)
            }
            var request = SettleRequest()
            request.group = "q"
            request.entries = found.map { offset, delivered in
                var entry = SettleEntry()
                (entry.topic, entry.delivery, entry.verb) = (delivered.topic, delivered.delivery, 1)
                entry.range = OffsetRange(offset, offset + 1)
                return entry
            }
            #expect(try client.ask(request).results.allSatisfy { $0.error == .none })
            done += found.count
        }
        #expect(done == keys.count)
        try harness.stop()
    }

    @Test func `what is parked stays parked over a restart, and is released in its order`() throws {
        let directory = try TemporaryDirectory("parked")
        var harness = try BrokerHarness(
            directory: directory, setUp: { $0.groupLimits.snapshotRecordsMin = 3 })
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeKeyed(["a", "b", "a", nil, "b"]))
        var member = try OrderedMember(client, 1)
        #expect(try member.setPolicy(3) == .none)
        var found = try member.receive()
        #expect(found.keys.sorted() == [0, 1, 3])
        #expect(try member.settle(found, 0, verb: 6) == .none)
        #expect(try member.settle(found, 3, verb: 7) == .none)
        #expect(try member.settle(found, 1, verb: 1) == .none)
        found = try member.receive()
        #expect(found.keys.sorted() == [4])
        #expect(try member.settle(found, 4, verb: 1) == .none)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        member = try OrderedMember(client, 2)
        #expect(try member.receive(wait: 100).isEmpty)
        var line = try member.line()
        #expect(line.parked == 2 && line.ready == 1 && line.acked == 2 && line.floor == 0)
        let page = try member.parked(max: 1)
        #expect(page.hasMore && page.records.map(\.offset) == [0])
        #expect(page.records[0].isKey && page.records[0].attempts == 1)
        #expect(page.records[0].failure == "Broken" && page.records[0].text == "it is")
        let rest = try member.parked(after: page.records[0])
        #expect(!rest.hasMore && rest.records.map(\.offset) == [3])
        #expect(try member.release(topic, [1, 0]) == [.notParked, .none])
        found = try member.receive()
        #expect(found.keys.sorted() == [0] && found[0]?.attempts == 0)
        #expect(try member.settle(found, 0, verb: 1) == .none)
        found = try member.receive()
        #expect(found.keys.sorted() == [2])
        #expect(try member.settle(found, 2, verb: 1) == .none)
        var all = ReleaseParkedRequest()
        (all.group, all.releasesAll) = ("q", true)
        #expect(try client.ask(all).released == 1)
        found = try member.receive()
        #expect(found.keys.sorted() == [3])
        #expect(try member.settle(found, 3, verb: 1) == .none)
        line = try member.line()
        #expect(line.parked == 0 && line.acked == 5 && line.lag == 0)
        all.places = [ParkedPlace()]
        #expect(try client.ask(all).error == .invalidRequest)
        (all.group, all.places) = ("nobody", [])
        #expect(try client.ask(all).error == .unknownGroup)
        try harness.stop()
    }

    @Test func `damage is handed to nobody, and holds up no other record`() throws {
        let directory = try TemporaryDirectory("ordered-damage")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let batch = makeKeyed(["a", "b"])
        for _ in 0..<3 { _ = try client.produce(topic, batch) }
        try harness.stop()
        let disk = PosixFileSystem()
        let topics = directory.path("data/topics")
        let homes = try disk.list(topics).filter { !$0.contains(".") }
        for home in homes {
            let path = "\(topics)/\(home)/0/00000000000000000000.log"
            guard let file = try? disk.open(path, .readWrite),
                try file.size() == Int64(batch.count) * 3
            else { continue }
            let rot = ByteSlab(capacity: 1)
            rot.append(UInt8(0x55))
            try file.write(rot, at: Int64(batch.count) * 2 - 1)
        }
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        let member = try OrderedMember(client, 1)
        var found = try member.receive()
        #expect(found.keys.sorted() == [0, 1])
        for offset: Int64 in [0, 1] { #expect(try member.settle(found, offset, verb: 1) == .none) }
        found = try member.receive()
        #expect(found.keys.sorted() == [4, 5])
        for offset: Int64 in [4, 5] { #expect(try member.settle(found, offset, verb: 1) == .none) }
        #expect(try member.receive(wait: 100).isEmpty)
        let line = try member.line()
        #expect(line.acked == 4 && line.floor == 2 && line.lag == 2)
        try harness.stop()
    }

    @Test func `keys are parked only where there is order, and order is said once`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client)
        let free = RawMember(client, 5, group: "q")
        #expect(try free.join(kind: 1) == .none)
        #expect(try RawMember(client, 6, group: "q").join(kind: 3) == .invalidRequest)
        var request = SetFailurePolicyRequest()
        request.group = "q"
        (request.policy.backoffMilliseconds, request.policy.backoffMaxMilliseconds) = (1, 1)
        request.policy.backoffFactorPercent = 100
        for (last, answer) in [(2, .none), (3, .invalidRequest), (4, .invalidRequest)]
            as [(UInt8, ErrorCode)]
        {
            request.policy.last = last
            #expect(try client.ask(request).error == answer)
        }
        try harness.stop()
    }
}
