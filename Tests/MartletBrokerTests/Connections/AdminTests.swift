import MartletBroker
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletStorage

@Suite struct AdminTests {
    private func exchange(_ harness: BrokerHarness, _ text: String) throws -> String {
        let port = try #require(harness.broker.adminAddress).port
        let client = try RawClient(port: port)
        try client.send(Array(text.utf8))
        return String(decoding: try client.receiveAll(), as: UTF8.self)
    }

    @Test func `metrics, health and readiness are served`() throws {
        let harness = try BrokerHarness(admin: true)
        _ = try harness.hello()
        let metrics = try exchange(harness, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(metrics.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(metrics.contains("martlet_broker_requests_total{operation=\"hello\"} 1\n"))
        #expect(try exchange(harness, "GET /healthz HTTP/1.0\n\n").hasSuffix("\r\n\r\nok\n"))
        #expect(
            try exchange(harness, "GET /readyz?x=1 HTTP/1.1\r\n\r\n").hasSuffix("ready\n"))
        let head = try exchange(harness, "HEAD /readyz HTTP/1.1\r\n\r\n")
        #expect(head.contains("Content-Length: 6\r\n") && head.hasSuffix("\r\n\r\n"))
        try harness.stop()
    }

    @Test(arguments: [
        ("POST /metrics HTTP/1.1\r\n\r\n", 405),
        ("DELETE /topics HTTP/1.1\r\n\r\n", 405),
        ("GET /etc/passwd HTTP/1.1\r\n\r\n", 404),
        ("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        ("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("GET /metrics HTTP/2.0\r\n\r\n", 505),
        ("GET\r\n\r\n", 400),
        ("\u{16}\u{3}\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", 400),
    ])
    func `what is not allowed is refused`(request: String, status: Int) throws {
        let harness = try BrokerHarness(admin: true)
        let answer = try exchange(harness, request)
        #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(answer)")
        try harness.stop()
    }

    @Test func `a head without an end is cut off by size and by time`() throws {
        let harness = try BrokerHarness(
            admin: true, limits: { $0.adminTimeoutMilliseconds = 300 })
        let long = "GET /metrics HTTP/1.1\r\nX: " + String(repeating: "a", count: 9_000)
        #expect(try exchange(harness, long).hasPrefix("HTTP/1.1 431 "))
        #expect(try exchange(harness, "GET /met").hasPrefix("HTTP/1.1 408 "))
        try harness.stop()
    }

    @Test func `too many admin connections are closed`() throws {
        let harness = try BrokerHarness(
            admin: true, limits: { $0.adminConnectionsMax = 2 })
        let port = try #require(harness.broker.adminAddress).port
        let first = try RawClient(port: port)
        let second = try RawClient(port: port)
        let third = try RawClient(port: port)
        #expect(try third.receiveAll().isEmpty)
        try first.send(Array("GET /healthz HTTP/1.1\r\n\r\n".utf8))
        #expect(try !first.receiveAll().isEmpty)
        second.close()
        try harness.stop()
    }

    @Test func `a partition that is offline is told by readiness and doctor`() throws {
        let harness = try BrokerHarness(admin: true)
        let client = try harness.hello()
        _ = try harness.makeTopic(client, "orders", partitions: 2)
        let topic = try #require(harness.broker.engine.topic(named: "orders"))
        try #require(topic.partition(1)).goOffline(.broken("its index cannot be opened"))
        let ready = try exchange(harness, "GET /readyz HTTP/1.1\r\n\r\n")
        #expect(ready.hasSuffix("degraded: 1 partition is offline\n"))
        let finding = try client.ask(DoctorRequest()).findings.first
        #expect(finding?.code == "partition-offline" && finding?.severity == 2)
        #expect(finding?.text == "orders/1: its index cannot be opened")
        try harness.stop()
    }
}
