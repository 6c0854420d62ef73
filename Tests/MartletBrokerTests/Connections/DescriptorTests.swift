import Glibc
import MartletBroker
import MartletConfiguration
import MartletSystem
import MartletTelemetry
import MartletWire
import Testing

/// What happens at the limits of the process. Each in a process of its own.
@Suite struct DescriptorTests {
    @Test func `F-14 without descriptors connections wait or close, and nothing spins`() async {
        await #expect(processExitsWith: .success) {
            let harness = try BrokerHarness(configure: { $0.storage.ioQueues = 1 })
            let good = try harness.hello()
            let topic = try harness.makeTopic(good)
            try #require(try good.produce(topic, makeBatch()).error == .none)
            // The peers are sockets of this process too: they are made first.
            let used = try #require(CurrentProcess.openDescriptorCount)
            var limit = rlimit(rlim_cur: rlim_t(used + 60), rlim_max: rlim_t(used + 60))
            try #require(unsafe setrlimit(__rlimit_resource_t(7), &limit) == 0)
            var clients: [RawClient] = []
            var refusals = 0
            while refusals == 0 {
                do {
                    clients.append(try RawClient(port: harness.port))
                } catch is RawClient.Failed {
                    refusals += 1
                }
            }
            let before = CurrentProcess.processorNanoseconds
            // What was there goes on.
            for _ in 0..<200 {
                try #require(try good.produce(topic, makeBatch()).error == .none)
            }
            let spent = CurrentProcess.processorNanoseconds - before
            // 200 requests are milliseconds of work; a spinning listener would add to them for as
            // long as it is not paused.
            try #require(spent < 20_000_000_000)
            let text = PrometheusText.render(harness.registry)
            try #require(text.contains("reason=\"descriptors\""))
            for client in clients { client.close() }
            clients = []
            while true {
                do {
                    _ = try harness.hello()
                    break
                } catch is RawClient.Closed {
                    continue
                }
            }
            try harness.stop()
        }
    }

    @Test func `a broker that is gone leaves no thread behind`() async {
        await #expect(processExitsWith: .success) {
            let others = CurrentProcess.threadCount ?? 0
            for _ in 0..<5 {
                let harness = try BrokerHarness(admin: true)
                let client = try harness.hello()
                _ = try client.produce(try harness.makeTopic(client), makeBatch())
                try harness.stop()
            }
            let clock = SystemClock()
            let deadline = clock.monotonicNanoseconds() + 60_000_000_000
            // Each had more than ten. That for timers stays, and Dispatch's and the test's come and go.
            while (CurrentProcess.threadCount ?? 0) > others + 6 {
                try #require(clock.monotonicNanoseconds() < deadline)
                sched_yield()
            }
        }
    }

    @Test func `threads are bounded under load`() async {
        await #expect(processExitsWith: .success) {
            let others = CurrentProcess.threadCount ?? 0
            let harness = try BrokerHarness()
            let first = try harness.hello()
            let topic = try harness.makeTopic(first, partitions: 16)
            let clients = try (0..<64).map { _ in try harness.hello() }
            var most = 0
            for round in 0..<20 {
                for (index, client) in clients.enumerated() {
                    try client.send(
                        try produceFrame(
                            topic, [makeBatch(10)], partition: Int32(index % 16),
                            correlation: UInt64(round)))
                    try client.send(
                        try fetchRequest(topic, from: 0, partition: Int32(index % 16), maxBytes: 1)
                            .frame(correlation: 1_000))
                }
                most = max(most, CurrentProcess.threadCount ?? 0)
                for client in clients {
                    _ = try client.receive()
                    _ = try client.receive()
                }
            }
            // The threads of the test itself are not the broker's.
            let bound = 2 * CurrentProcess.processorCount + 16
            print("threads: \(most), \(others) of them not the broker's, bound \(bound)")
            try #require(others > 0 && most - others <= bound, "\(most) threads, \(others) before")
            try harness.stop()
        }
    }
}
