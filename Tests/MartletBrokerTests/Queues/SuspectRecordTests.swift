import MartletClient
import MartletFormat
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletBroker

/// Records of stream groups that may have ended the owner of their partition, over the wire, with the
/// real broker.
@Suite(.timeLimit(.minutes(2))) struct SuspectRecordTests {
    private struct Bench {
        let harness: BrokerHarness
        let client: RawClient
        let topic: TopicID

        /// Ten records in batches of one.
        init() throws {
            harness = try BrokerHarness()
            client = try harness.hello()
            topic = try harness.makeTopic(client)
            for _ in 0..<10 { _ = try client.produce(topic, makeBatch(1)) }
        }
    }

    /// Offsets in the order in which handlers began with them.
    private final class Calls: Sendable {
        private let state = Mutex<[Int64]>([])

        func add(_ offset: Int64) { state.withLock { $0.append(offset) } }
        var all: [Int64] { state.withLock { $0 } }
    }

    /// A member that owns the partition.
    private func owner(
        _ harness: BrokerHarness, _ number: UInt64, session: Int32 = 2_000,
        instance: String? = nil
    ) throws -> RawMember {
        let member = RawMember(try harness.hello(), number)
        #expect(try member.join(session: session, instance: instance) == .none)
        while member.owned.isEmpty {
            // Its own session must not run out with that of the one before.
            let reply = try member.client.ask(member.heartbeat(wait: 100))
            guard member.take(reply) == .none else {
                Issue.record("\(reply)")
                break
            }
        }
        return member
    }

    private func start(
        _ member: RawMember, _ offset: Int64, number: UInt64 = 0, isAlone: Bool = true
    ) throws -> StartRecordReply {
        var request = StartRecordRequest()
        (request.group, request.member) = (member.group, member.id)
        request.owned = try #require(member.owned.first).owned
        (request.offset, request.number, request.isAlone) = (offset, number, isAlone)
        return try member.client.ask(request)
    }

    private func letters(_ client: RawClient) throws -> [DeadLetterLine] {
        var request = ListDeadLettersRequest()
        request.group = "g"
        return try client.ask(request).letters
    }

    private func starts(_ harness: BrokerHarness) -> Int {
        let name = "martlet_broker_requests_total{operation=\"start-record\"}"
        let text = PrometheusText.render(harness.registry)
        let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Int($0) } ?? -1
    }

    @Test func `the next owner is told what the lost one was served, and no more`() throws {
        let bench = try Bench()
        let first = try owner(bench.harness, 1)
        let owned = try #require(first.owned.first)
        #expect(owned.suspectBelow == 0)
        // Two batches of one record.
        for offset in 0..<2 as Range<Int64> {
            #expect(try first.fetch(owned, from: offset, maxBytes: 1).recordsLength > 0)
        }
        #expect(try first.commit(owned, 1) == .none)
        first.client.close()
        let second = try owner(bench.harness, 2)
        let suspect = try #require(second.owned.first)
        #expect(suspect.suspectBelow == 2)
        #expect(try second.commit(suspect, 10) == .none)
        second.client.close()
        #expect(try owner(bench.harness, 3).owned.first?.suspectBelow == 0)
        try bench.harness.stop()
    }

    @Test func `after a restart it is what the log has`() throws {
        let bench = try Bench()
        let first = try owner(bench.harness, 1)
        #expect(try first.commit(try #require(first.owned.first), 4) == .none)
        try bench.harness.stop()
        let again = try BrokerHarness(directory: bench.harness.directory)
        let second = try owner(again, 2)
        #expect(second.owned.first?.suspectBelow == 10)
        try again.stop()
        // It is not forgotten either.
        let third = try BrokerHarness(directory: bench.harness.directory)
        #expect(try owner(third, 2).owned.first?.suspectBelow == 10)
        try third.stop()
    }

    @Test func `an instance that ends well is not lost, and one that does not is`() throws {
        let bench = try Bench()
        for (number, stays) in [(UInt64(1), true), (2, false), (3, true)] {
            let member = try owner(bench.harness, number, session: 30_000, instance: "a")
            let owned = try #require(member.owned.first)
            #expect(owned.suspectBelow == (number == 3 ? 10 : 0))
            #expect(try member.fetch(owned, from: 0).recordsLength > 0)
            guard stays else { continue }
            var request = LeaveGroupRequest()
            (request.group, request.member, request.stays) = ("g", member.id, true)
            #expect(try member.client.ask(request).error == .none)
        }
        try bench.harness.stop()
    }

    @Test func `a record that ends each of its owners is set aside, over restarts`()
        throws
    {
        let bench = try Bench()
        var harness = bench.harness
        for number in 1...3 as ClosedRange<UInt64> {
            let member = try owner(harness, number)
            #expect(try start(member, 4, number: 1).answer == 0)
            // Its answer may be lost.
            #expect(try start(member, 4, number: 1, isAlone: false).answer == 0)
            if number < 3 {
                #expect(try start(member, 4, number: 2, isAlone: false).answer == 4)
            }
            if number == 2 {
                try harness.stop()
                harness = try BrokerHarness(directory: bench.harness.directory)
            } else {
                member.client.close()
            }
        }
        let member = try owner(harness, 4)
        #expect(try start(member, 5).answer == 0)
        for _ in 0..<2 {
            let reply = try start(member, 4)
            #expect(reply.answer == 1, "\(reply)")
        }
        let letter = try #require(try letters(member.client).first)
        #expect(letter.offset == 4 && letter.attempts == 3 && letter.reason == 2)
        #expect(try letters(member.client).count == 1)
        var stale = try #require(member.owned.first)
        stale.owned.epoch -= 1
        var request = StartRecordRequest()
        (request.group, request.member, request.owned) = ("g", member.id, stale.owned)
        #expect(try member.client.ask(request).error == .staleMemberEpoch)
        (request.owned.epoch, request.offset) = (stale.owned.epoch + 1, -1)
        #expect(try member.client.ask(request).error == .invalidRequest)
        request.group = "none"
        #expect(try member.client.ask(request).error == .unknownGroup)
        try harness.stop()
    }

    @Test func `a client with an instance that ends well makes nothing suspect`() async throws {
        let bench = try Bench()
        let configuration = ClientConfiguration(server: "127.0.0.1:\(bench.harness.port)")
        try await Martlet.withClient(configuration) { client in
            let member = GroupConsumerConfiguration(
                "g", topics: ["t"], instance: "a", sessionTimeout: .seconds(60))
            // All ten are sent, and one is handled.
            try await client.withGroupConsumer(member) { consumer in
                for try await record in consumer.records where record.offset == 0 { break }
            }
        }
        let next = try owner(bench.harness, 2, instance: "a")
        let owned = try #require(next.owned.first)
        #expect(owned.suspectBelow == 0 && owned.owned.epoch == 2)
        try bench.harness.stop()
    }

    @Test(arguments: [GroupHandling.serial, .perKey(4), .unordered(4)])
    func `only suspect records are announced, and all are handled once`(
        _ handling: GroupHandling
    ) async throws {
        let bench = try Bench()
        let first = try owner(bench.harness, 1)
        let owned = try #require(first.owned.first)
        _ = try first.fetch(owned, from: 0)
        #expect(try first.commit(owned, 4) == .none)
        first.client.close()
        for _ in 0..<10 { _ = try bench.client.produce(bench.topic, makeBatch(1)) }
        let seen = Calls()
        var member = GroupConsumerConfiguration(
            "g", topics: ["t"], commitPolicy: .afterProcessing(interval: .milliseconds(10)))
        member.failures = .byPolicy
        let wanted = member
        let configuration = ClientConfiguration(server: "127.0.0.1:\(bench.harness.port)")
        try await Martlet.withClient(configuration) { client in
            let task = Task {
                try await client.consumeGroup(wanted, handling: handling) { record in
                    seen.add(record.offset)
                }
            }
            while true {
                let group = try await client.admin.describeGroup("g")
                if group.lag == 0, !group.partitions.isEmpty { break }
                await Task.yield()
            }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }
        #expect(seen.all.sorted() == Array(4..<20))
        #expect(starts(bench.harness) == 6)
        try bench.harness.stop()
    }

    @Test func `a record that hangs each of its handlers is set aside, and the partition flows on`()
        async throws
    {
        let sink = LogCapture()
        let harness = try BrokerHarness(setUp: {
            $0.logger = Logger(label: "test", level: .notice, sink: sink)
        })
        let raw = try harness.hello()
        let topic = try harness.makeTopic(raw)
        for _ in 0..<10 { _ = try raw.produce(topic, makeBatch(1)) }
        var request = CreateGroupRequest()
        request.group = "g"
        #expect(try raw.ask(request).error == .none)
        let seen = Calls()
        var member = GroupConsumerConfiguration(
            "g", topics: ["t"], sessionTimeout: .seconds(60), drainTimeout: .milliseconds(50),
            progressTimeout: .milliseconds(300),
            commitPolicy: .afterProcessing(interval: .milliseconds(10)))
        member.failures = .byPolicy
        let wanted = member
        let configuration = ClientConfiguration(server: "127.0.0.1:\(harness.port)")
        try await Martlet.withClient(configuration) { client in
            func isDone() async throws -> Bool {
                let group = try await client.admin.describeGroup("g")
                return !group.partitions.isEmpty && group.lag == 0
            }
            for round in 1... {
                let (gate, door) = AsyncStream.makeStream(of: Void.self)
                let stuck = sink.codes.count { $0 == "MEMBER_STUCK" }
                let task = Task {
                    try await client.consumeGroup(wanted) { record in
                        seen.add(record.offset)
                        if record.offset == 4 { for await _ in gate {} }
                    }
                }
                var isOver = false
                while !isOver, sink.codes.count(where: { $0 == "MEMBER_STUCK" }) == stuck {
                    isOver = try await isDone()
                }
                task.cancel()
                door.finish()
                await #expect(throws: CancellationError.self) { try await task.value }
                #expect(round <= 5)
                if isOver || round == 8 { break }
            }
        }
        let calls = seen.all
        // The first was not suspected yet.
        #expect(calls.count { $0 == 4 } == 4)
        #expect(Set(calls) == Set(0..<10))
        #expect(try letters(raw).map(\.offset) == [4] && letters(raw).map(\.attempts) == [3])
        try harness.stop()
    }
}
