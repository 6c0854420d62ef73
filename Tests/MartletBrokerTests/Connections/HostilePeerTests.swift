import Glibc
import MartletBroker
import MartletConfiguration
import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// Peers that break the protocol or its limits: at worst their own connection closes.
@Suite struct HostilePeerTests {
    private func lengthPrefix(_ length: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
    }

    @Test(
        arguments: [
            UInt32(0), 11, (16 << 20) + 1, UInt32(Int32.max), UInt32.max,
        ] as [UInt32])
    func `F-29 a length outside the limits closes at once`(length: UInt32) throws {
        let harness = try BrokerHarness()
        let good = try harness.hello()
        for isAuthenticated in [true, false] {
            let client = isAuthenticated ? try harness.hello() : try harness.connect()
            try client.send(lengthPrefix(length))
            let frames = try client.receiveUntilClosed()
            let payload = try #require(frames.first).payload
            let reply = try PingReply.decode(payload, 0..<payload.count, version: 1).message
            #expect(reply.error == (length < 12 ? .invalidRequest : .frameTooLarge))
        }
        #expect(try good.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test func `F-29 the refusal names the request when its header is there`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        var frame = try PingRequest().frame(correlation: 99)
        frame.replaceSubrange(0..<4, with: lengthPrefix(1 << 30))
        try client.send(frame)
        let frames = try client.receiveUntilClosed()
        #expect(frames.first?.header.correlation == 99)
        try harness.stop()
    }

    @Test func `F-29 before hello a small limit holds`() throws {
        let harness = try BrokerHarness()
        let client = try harness.connect()
        try client.send(lengthPrefix(64 * 1_024 + 1))
        #expect(try client.receiveUntilClosed().count == 1)
        try harness.stop()
    }

    @Test func `F-30 a thousand announced frames hold almost no memory`() throws {
        let harness = try BrokerHarness()
        let before = try #require(CurrentProcess.residentBytes)
        var clients: [RawClient] = []
        let hello = try HelloRequest().frame(correlation: 1)
        for number in 0..<1_000 {
            let client = try RawClient(port: harness.port)
            // Half of them have said hello and may announce 16 MiB.
            if number % 2 == 0 {
                try client.send(hello + lengthPrefix(16 << 20))
            } else {
                try client.send(lengthPrefix(64 << 10))
            }
            clients.append(client)
        }
        let good = try harness.hello()
        #expect(try good.ask(PingRequest()).error == .none)
        let after = try #require(CurrentProcess.residentBytes)
        // 16 MiB for each would be 8 GiB.
        #expect(after - before < 128 << 20, "\((after - before) >> 20) MiB")
        clients = []
        try harness.stop()
    }

    /// Peers that announce 16 MiB each and send so much that no memory for requests is left.
    private func fill(_ harness: BrokerHarness) throws -> [RawClient] {
        let clients = try (0..<40).map { _ in
            let client = try harness.hello()
            try client.send(
                lengthPrefix(16 << 20) + [UInt8](repeating: 7, count: 100 << 10))
            return client
        }
        let isShort = eventually {
            let metrics = PrometheusText.render(harness.registry)
            return !metrics.contains("\nmartlet_broker_memory_pauses_total 0\n")
        }
        #expect(isShort, "memory is never short")
        return clients
    }

    @Test func `F-30 whoever asks for little is served while others hold all memory`() throws {
        let harness = try BrokerHarness(limits: { limits in
            limits.memoryBytesMax = 1 << 20
            limits.frameSilenceMilliseconds = 600_000
        })
        let good = try harness.hello()
        let topic = try harness.makeTopic(good)
        let hostile = try fill(harness)
        let newcomer = try harness.hello()
        for client in [good, newcomer] {
            #expect(try client.ask(PingRequest()).error == .none)
            try client.send(try produceFrame(topic, [makeBatch(3)], correlation: 7))
            #expect(try client.receive().header.correlation == 7)
            try client.send(try fetchRequest(topic, from: 0).frame(correlation: 8))
            #expect(try client.receive().header.correlation == 8)
        }
        withExtendedLifetime(hostile) {}
        try harness.stop()
    }

    @Test func `F-30 memory is taken from frames that do not go on`() throws {
        let harness = try BrokerHarness(limits: { limits in
            limits.memoryBytesMax = 1 << 20
            limits.frameSilenceMilliseconds = 300
        })
        let good = try harness.hello()
        let topic = try harness.makeTopic(good)
        let hostile = try fill(harness)
        // More than any connection has of its own.
        try good.send(try produceFrame(topic, [makeBatch(3, bytes: 50_000)], correlation: 7))
        #expect(try good.receive().header.correlation == 7)
        withExtendedLifetime(hostile) {}
        try harness.stop()
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}",
        "\0\0\0\u{20}garbage that is long enough to be a frame",
        String(repeating: "\u{7F}", count: 70_000),
    ])
    func `F-31 garbage closes its connection, with one line in the log`(garbage: String) throws {
        let sink = LogCapture()
        let harness = try BrokerHarness(setUp: {
            $0.logger = Logger(label: "test", level: .warning, sink: sink)
        })
        let client = try harness.connect()
        do {
            try client.send(Array(garbage.utf8))
        } catch is RawClient.Failed {
            // The broker was faster with closing than we with sending.
        }
        do {
            _ = try client.receiveUntilClosed()
        } catch is WireError {
            // Cannot happen unless the broker sends garbage itself.
            Issue.record("the broker broke the framing")
        }
        #expect(try harness.hello().ask(PingRequest()).error == .none)
        try harness.stop()
        #expect(sink.codes.filter { $0 == "CONNECTION_CLOSED" }.count == 1)
    }

    @Test func `F-35 connections above the limits are closed, those below live`() throws {
        let harness = try BrokerHarness(configure: {
            $0.listener.connectionsPerAddressMax = 8
        })
        let clients = try (0..<8).map { _ in try harness.hello() }
        for _ in 0..<5 {
            let refused = try harness.connect()
            #expect(try refused.receiveUntilClosed().isEmpty)
        }
        for client in clients { #expect(try client.ask(PingRequest()).error == .none) }
        clients[0].close()
        try retry { try harness.hello() }
        try harness.stop()
    }

    /// Tries until it works: the broker notices a closed connection in its own time.
    private func retry(_ body: () throws -> RawClient) throws {
        let hasWorked = try eventually {
            do {
                _ = try body()
                return true
            } catch is RawClient.Closed {
                return false
            }
        }
        #expect(hasWorked, "no place came free")
    }

    @Test func `F-36 who never says hello, or never ends a frame, is closed`() throws {
        let harness = try BrokerHarness(limits: {
            $0.helloTimeoutMilliseconds = 300
            $0.frameTimeoutMilliseconds = 300
        })
        let good = try harness.hello()
        let silent = try harness.connect()
        let slow = try harness.hello()
        try slow.send([0, 0, 1])
        let slower = try harness.hello()
        try slower.send(Array(try HelloRequest().frame(correlation: 1).dropLast()))
        #expect(try silent.receiveUntilClosed().isEmpty)
        #expect(try slow.receiveUntilClosed().isEmpty)
        #expect(try slower.receiveUntilClosed().isEmpty)
        #expect(try good.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test func `F-27 a connection without any traffic is closed`() throws {
        let harness = try BrokerHarness(limits: { $0.idleTimeoutMilliseconds = 300 })
        let client = try harness.hello()
        #expect(try client.receiveUntilClosed().isEmpty)
        try harness.stop()
    }

    @Test func `F-26 a peer that never reads is not read, then closed; others are served`() throws {
        let harness = try BrokerHarness(
            configure: { $0.listener.outputBytesMax = 1 << 20 },
            limits: {
                $0.writeTimeoutMilliseconds = 500
                $0.socketSendBytes = 64 << 10
            })
        let good = try harness.hello()
        let topic = try harness.makeTopic(good)
        for _ in 0..<8 { _ = try good.produce(topic, makeBatch(1, bytes: 500_000)) }
        let slow = try harness.hello(receiveBufferBytes: 16 << 10)
        var stream: [UInt8] = []
        for number in UInt64(0)..<40 {
            stream += try fetchRequest(topic, from: 0, maxBytes: 4_000_000)
                .frame(correlation: number)
        }
        try slow.send(stream)
        #expect(try good.ask(PingRequest()).error == .none)
        while closes(harness, "write-timeout") == 0 {
            #expect(try good.ask(PingRequest()).error == .none)
        }
        try harness.stop()
    }

    private func closes(_ harness: BrokerHarness, _ reason: String) -> Int {
        let name = "martlet_broker_connections_closed_total{reason=\"\(reason)\"} "
        let line = PrometheusText.render(harness.registry).split(separator: "\n").first {
            $0.hasPrefix(name)
        }
        return line.flatMap { Int($0.dropFirst(name.count)) } ?? 0
    }

    @Test func `F-37 resets in the middle of replies harm nobody`() throws {
        let harness = try BrokerHarness()
        let good = try harness.hello()
        let topic = try harness.makeTopic(good)
        for _ in 0..<4 { _ = try good.produce(topic, makeBatch(1, bytes: 900_000)) }
        for _ in 0..<50 {
            let client = try harness.hello(receiveBufferBytes: 16 << 10)
            try client.send(
                try fetchRequest(topic, from: 0, maxBytes: 4_000_000).frame(correlation: 1))
            client.reset()
            #expect(try good.ask(PingRequest()).error == .none)
        }
        try harness.stop()
    }

    @Test func `more requests than may be open are read later, none is lost`() throws {
        let harness = try BrokerHarness(configure: { $0.listener.requestsInFlightMax = 2 })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        var stream: [UInt8] = []
        for number in UInt64(0)..<300 {
            stream += try produceFrame(topic, [makeBatch()], correlation: number)
        }
        try client.send(stream)
        for number in UInt64(0)..<300 {
            #expect(try client.receive(ProduceReply.self).correlation == number)
        }
        try harness.stop()
    }

    @Test func `a peer that sends its requests and its end gets every answer`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        try client.send(
            try produceFrame(topic, [makeBatch()], correlation: 1)
                + fetchRequest(topic, from: 100, wait: 20_000).frame(correlation: 2)
                + PingRequest().frame(correlation: 3))
        client.shutdownSending()
        let frames = try client.receiveUntilClosed()
        #expect(Set(frames.map(\.header.correlation)) == [1, 2, 3])
        try harness.stop()
    }

    @Test func `batches of many sizes go through unharmed, in any cut`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("batch.bytes.max", "8388608")])
        var sent: [[UInt8]] = []
        for (index, bytes) in [1, 60_000, 70_000, 3_000_000, 5, 1_000_000, 64_000].enumerated() {
            let batch = makeBatch(1, bytes: bytes, fill: UInt8(index + 40))
            let result = try client.produce(topic, batch)
            #expect(result.error == .none, "\(bytes): \(result.message)")
            sent.append(batch)
        }
        var offset: Int64 = 0
        for batch in sent {
            try client.send(
                try fetchRequest(topic, from: offset, maxBytes: 1).frame(correlation: 1))
            let (_, _, attachment) = try client.receive(FetchReply.self)
            let bytes = unsafe attachment.withUnsafeBytes(0..<attachment.count) {
                unsafe [UInt8]($0)
            }
            #expect(bytes.dropFirst(21) == batch.dropFirst(21))
            offset += 1
        }
        try harness.stop()
    }
}
