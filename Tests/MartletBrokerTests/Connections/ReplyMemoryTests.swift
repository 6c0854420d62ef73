import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// What replies hold in memory while their peers do not take them.
@Suite(.serialized) struct ReplyMemoryTests {
    private static let mebibyte = 1 << 20

    private func memory(_ budget: MemoryBudget) -> ReplyMemory {
        ReplyMemory(pool: SlabPool(retainedBytesMax: 0), budget: budget)
    }

    @Test func `the first bytes are a connection's own, the rest is shared by what is left`() {
        let budget = MemoryBudget(limit: 1_000_000)
        let own = ReplyMemory.ownBytes
        let all = (0..<9).map { _ in memory(budget) }
        var held: [ReplySlab] = []
        for memory in all {
            while let slab = memory.slab(atLeast: 4_096) { held.append(slab) }
            // As much as is left, or a slab less.
            #expect(budget.leftBytes >= memory.sharedBytes)
            #expect(budget.leftBytes <= memory.sharedBytes + 8_192)
        }
        #expect(budget.heldBytes == all.reduce(0) { $0 + $1.sharedBytes })
        let late = memory(budget)
        #expect(late.slab(atLeast: own) != nil)
        #expect(late.slab(atLeast: 1_000_000) == nil)
        held = []
        #expect(budget.heldBytes == 0)
    }

    @Test func `a loan changes its size, and ends once`() {
        let budget = MemoryBudget(limit: 1_000_000)
        let memory = memory(budget)
        let own = ReplyMemory.ownBytes
        do {
            guard let loan = memory.lend(100_000) else {
                Issue.record("no loan")
                return
            }
            #expect(budget.heldBytes == 100_000 - own)
            let smaller = memory.slab(ByteSlab(capacity: 50_000), loan)
            #expect(budget.heldBytes == 50_000 - own)
            smaller?.end()
            #expect(budget.heldBytes == 0)
        }
        do {
            guard let loan = memory.lend(100_000) else {
                Issue.record("no loan")
                return
            }
            #expect(memory.slab(ByteSlab(capacity: 900_000), loan) == nil)
        }
        let due = memory.slabDue(atLeast: 1_500_000)
        #expect(memory.isOver && memory.allowance == 0)
        due.end()
        #expect(budget.heldBytes == 0 && !memory.isOver)
    }

    @Test func `a slab that the system refuses gives its loan back`() {
        let budget = MemoryBudget(limit: 1_000_000)
        let memory = ReplyMemory(
            pool: SlabPool(retainedBytesMax: 0) { $0 > 65_536 ? nil : ByteSlab(capacity: $0) },
            budget: budget)
        #expect(memory.slab(atLeast: 100_000) == nil)
        #expect(budget.heldBytes == 0 && memory.sharedBytes == 0)
        #expect(memory.slab(atLeast: 50_000) != nil)
    }

    /// A topic with `count` batches of 100 KB.
    private func fill(_ harness: BrokerHarness, _ count: Int) throws -> TopicID {
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for _ in 0..<count { _ = try client.produce(topic, makeBatch(1, bytes: 100_000)) }
        return topic
    }

    private func fetch(_ topic: TopicID, from offset: Int64, verify: Bool) -> FetchRequest {
        var request = fetchRequest(topic, from: offset)
        request.verify = verify
        return request
    }

    /// Peers that ask for far more than there is memory for, and take nothing.
    private func ask(
        _ harness: BrokerHarness, _ topic: TopicID, peers: Int, verify: Bool
    ) throws -> [RawClient] {
        var requests: [UInt8] = []
        for number in UInt64(0)..<10 {
            requests += try fetch(topic, from: 0, verify: verify).frame(correlation: number)
        }
        return try (0..<peers).map { _ in
            let client = try harness.hello(receiveBufferBytes: 16 << 10)
            try client.send(requests)
            return client
        }
    }

    private func value(_ harness: BrokerHarness, _ name: String) -> Int {
        let line = PrometheusText.render(harness.registry).split(separator: "\n").first {
            $0.hasPrefix(name + " ")
        }
        return line.flatMap { Int(Double($0.dropFirst(name.count + 1)) ?? -1) } ?? -1
    }

    private func held(_ harness: BrokerHarness) -> Int {
        value(harness, "martlet_broker_memory_bytes")
    }

    /// A connection that was quiet for a second has a larger slab afterwards, which counts: those
    /// that are open are left alone until they are quiet, and new ones knock.
    private func waitUntilNothingIsHeld(_ harness: BrokerHarness, _ comment: Comment = "") throws {
        let isFree = try eventually { () throws -> Bool in
            if held(harness) == 0 { return true }
            let knocking = try harness.hello()
            #expect(try knocking.ask(PingRequest()).error == .none)
            knocking.close()
            return false
        }
        #expect(isFree, "\(held(harness)) bytes are held and nobody reads: \(comment)")
    }

    /// Reads all of the topic, asking again when there was no memory.
    private func readAll(
        _ client: RawClient, _ topic: TopicID, verify: Bool, to end: Int64
    ) throws {
        var offset: Int64 = 0
        var refusals = 0
        while offset < end {
            try client.send(
                try fetch(topic, from: offset, verify: verify).frame(correlation: 1))
            let (_, reply, attachment) = try client.receive(FetchReply.self)
            // Without memory for the reply itself it is refused as a whole.
            let error = reply.error == .none ? reply.partitions.first?.error : reply.error
            if error == .tooManyRequests {
                refusals += 1
                try #require(refusals < 10_000, "no memory ever")
                continue
            }
            try #require(error == ErrorCode.none)
            var position = 0
            while position < attachment.count {
                let header = try RecordBatchHeader(reading: attachment.bytes, at: position)
                #expect(header.baseOffset == offset)
                offset = header.nextOffset
                position += header.byteCount
            }
        }
    }

    @Test(arguments: [true, false])
    func `F-26 replies that nobody takes stay within the memory of all, and others are served`(
        verify: Bool
    ) throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(
            setUp: { $0.fileSystem = files },
            limits: { limits in
                limits.memoryBytesMax = 8 * Self.mebibyte
                // Verified batches must lie in memory as a whole: it is taken from the slow ones.
                limits.frameSilenceMilliseconds = verify ? 300 : 600_000
                limits.socketSendBytes = 64 << 10
            })
        let topic = try fill(harness, 20)
        files.set { $0.isCold = true }
        let good = try harness.hello()
        let before = try #require(CurrentProcess.residentBytes)
        let slow = try ask(harness, topic, peers: 30, verify: verify)
        for _ in 0..<3 {
            try readAll(good, topic, verify: verify, to: 20)
            #expect(try harness.hello().ask(PingRequest()).error == .none)
            #expect(held(harness) <= 8 * Self.mebibyte)
        }
        let after = try #require(CurrentProcess.residentBytes)
        // 30 peers, ten replies of 1 MB each, are 300 MB. AddressSanitizer keeps 64 MiB of what is
        // freed.
        #expect(after - before < 160 << 20, "\((after - before) >> 20) MiB")
        for peer in slow { peer.close() }
        try waitUntilNothingIsHeld(harness)
        try readAll(good, topic, verify: verify, to: 20)
        try harness.stop()
    }

    @Test func `F-26 while memory is short, who takes nothing of his replies is closed`() throws {
        let harness = try BrokerHarness(limits: { limits in
            limits.memoryBytesMax = 2 * Self.mebibyte
            limits.frameSilenceMilliseconds = 300
            limits.socketSendBytes = 64 << 10
        })
        // One batch is more than the share of a newcomer.
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1, bytes: 400_000))
        let slow = try ask(harness, topic, peers: 8, verify: true)
        try readAll(client, topic, verify: true, to: 1)
        let closed = "martlet_broker_connections_closed_total{reason=\"write-timeout\"}"
        let isClosed = try eventually { () throws -> Bool in
            #expect(try client.ask(PingRequest()).error == .none)
            return value(harness, closed) > 0
        }
        #expect(isClosed)
        withExtendedLifetime(slow) {}
        try harness.stop()
    }

    @Test func `F-37 whatever ends a connection gives its memory back`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(
            setUp: { $0.fileSystem = files },
            limits: { limits in
                limits.memoryBytesMax = 4 * Self.mebibyte
                limits.memoryWaitMilliseconds = 100
                limits.socketSendBytes = 64 << 10
            })
        let topic = try fill(harness, 12)
        let good = try harness.hello()
        var random = SeededRandom.fresh()
        let seed = random.seed
        for round in 0..<60 {
            files.set { $0.isCold = Bool.random(using: &random) }
            let peers = try ask(
                harness, topic, peers: Int.random(in: 1...6, using: &random),
                verify: Bool.random(using: &random))
            for peer in peers {
                for _ in 0..<Int.random(in: 0...3, using: &random) { _ = try peer.receive() }
                switch Int.random(in: 0..<3, using: &random) {
                case 0: peer.reset()
                case 1: peer.shutdownSending()
                default: peer.close()
                }
            }
            #expect(try good.ask(PingRequest()).error == .none, "seed \(seed), round \(round)")
        }
        try waitUntilNothingIsHeld(harness)
        try readAll(try harness.hello(), topic, verify: true, to: 12)
        try waitUntilNothingIsHeld(harness, "seed \(seed)")
        try harness.stop()
    }
}
