import Glibc
import MartletTelemetry
import Testing

@Suite struct MetricsTests {
    static func filled() -> MetricsRegistry {
        let registry = MetricsRegistry()
        registry.counter("martlet_requests_total", "Requests answered.", [("operation", "produce")])
            .add(3)
        registry.counter("martlet_requests_total", "Requests answered.", [("operation", "fetch")])
            .add()
        registry.gauge("martlet_connections", "Open connections.").set(-2)
        registry.gauge("martlet_disk_available_bytes", "Bytes free.\nSecond \\ line.") { 1.5e9 }
        registry.counter("martlet_cpu_seconds_total", "CPU time.") { 0.25 }
        registry.gauges("martlet_partition_bytes", "Bytes by partition.") {
            [([("topic", "a\"b\\c\nd\u{e9}"), ("partition", "0")], .infinity)]
        }
        registry.gauges("martlet_nothing", "Never has a row.") { [] }
        let sync = registry.histogram(
            "martlet_sync_seconds", "Time of fdatasync.",
            HistogramBuckets(upperBounds: [1_000, 1_000_000], unitsPerShownUnit: 1e9),
            [("kind", "log")])
        for value: Int64 in [0, 1_000, 1_001, 1_000_000, 1_000_001] { sync.observe(value) }
        return registry
    }

    @Test func text() {
        #expect(
            PrometheusText.render(Self.filled()) == #"""
                # HELP martlet_connections Open connections.
                # TYPE martlet_connections gauge
                martlet_connections -2
                # HELP martlet_cpu_seconds_total CPU time.
                # TYPE martlet_cpu_seconds_total counter
                martlet_cpu_seconds_total 0.25
                # HELP martlet_disk_available_bytes Bytes free.\nSecond \\ line.
                # TYPE martlet_disk_available_bytes gauge
                martlet_disk_available_bytes 1500000000
                # HELP martlet_partition_bytes Bytes by partition.
                # TYPE martlet_partition_bytes gauge
                martlet_partition_bytes{topic="a\"b\\c\ndé",partition="0"} +Inf
                # HELP martlet_requests_total Requests answered.
                # TYPE martlet_requests_total counter
                martlet_requests_total{operation="fetch"} 1
                martlet_requests_total{operation="produce"} 3
                # HELP martlet_sync_seconds Time of fdatasync.
                # TYPE martlet_sync_seconds histogram
                martlet_sync_seconds_bucket{kind="log",le="1e-06"} 2
                martlet_sync_seconds_bucket{kind="log",le="0.001"} 4
                martlet_sync_seconds_bucket{kind="log",le="+Inf"} 5
                martlet_sync_seconds_sum{kind="log"} 0.002002002
                martlet_sync_seconds_count{kind="log"} 5

                """#)
    }

    @Test func `histograms whose rows are known only when asked are like all others`() {
        let registry = MetricsRegistry()
        let buckets = HistogramBuckets(upperBounds: [1_000, 1_000_000], unitsPerShownUnit: 1e9)
        registry.histograms("martlet_handler_seconds", "Time of handlers.", buckets) {
            [([("group", "g")], Histogram.Snapshot(counts: [2, 0, 1], sum: 3_000_500))]
        }
        registry.histograms("martlet_nothing_seconds", "No rows.", buckets) { [] }
        #expect(
            PrometheusText.render(registry) == #"""
                # HELP martlet_handler_seconds Time of handlers.
                # TYPE martlet_handler_seconds histogram
                martlet_handler_seconds_bucket{group="g",le="1e-06"} 2
                martlet_handler_seconds_bucket{group="g",le="0.001"} 2
                martlet_handler_seconds_bucket{group="g",le="+Inf"} 3
                martlet_handler_seconds_sum{group="g"} 0.0030005
                martlet_handler_seconds_count{group="g"} 3

                """#)
    }

    @Test func promtoolAcceptsIt() throws {
        guard shell("command -v promtool >/dev/null") == 0 else {
            print("SKIPPED promtool: not installed (Debian package prometheus)")
            return
        }
        let registry = Self.filled()
        registry.histogram("martlet_request_seconds", "Time of a request.", .latency).observe(5)
        registry.histogram("martlet_batch_bytes", "Size of a batch.", .bytes).observe(5)
        let file = "/tmp/martlet-metrics-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        defer { unsafe unlink(file) }
        let descriptor = unsafe open(file, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        let text = Array(PrometheusText.render(registry).utf8)
        #expect(
            unsafe text.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
                == text.count)
        close(descriptor)
        #expect(shell("promtool check metrics < \(file)") == 0)
        #expect(shell("echo bad_metric{ | promtool check metrics >/dev/null 2>&1") != 0)
    }

    /// Commands are literals of this file.
    private func shell(_ command: String) -> CInt {
        unsafe system(command)
    }

    @Test func theSameNameAndLabelsAreTheSameHandle() {
        let registry = MetricsRegistry()
        let first = registry.counter("martlet_a_total", "A.", [("x", "1"), ("y", "2")])
        let second = registry.counter("martlet_a_total", "A.", [("y", "2"), ("x", "1")])
        let third = registry.counter("martlet_a_total", "A.", [("x", "1")])
        #expect(first === second)
        #expect(first !== third)
    }

    @Test func rowsOfADeletedTopicGo() {
        let registry = MetricsRegistry()
        for topic in ["a", "b"] {
            for partition in ["0", "1"] {
                let labels = [("topic", topic), ("partition", partition)]
                registry.gauge("martlet_rows", "R.", labels).set(1)
            }
        }
        registry.gauge("martlet_other", "O.").set(1)
        registry.remove(matching: [("topic", "a")])
        #expect(
            PrometheusText.render(registry) == """
                # HELP martlet_other O.
                # TYPE martlet_other gauge
                martlet_other 1
                # HELP martlet_rows R.
                # TYPE martlet_rows gauge
                martlet_rows{topic="b",partition="0"} 1
                martlet_rows{topic="b",partition="1"} 1

                """)
    }

    @Test func countersNeverGoBack() {
        let counter = Counter()
        counter.add(5)
        counter.add(-3)
        counter.add(.max)
        #expect(counter.value == 5 + UInt64(Int.max))
    }

    @Test func histogramsAreExactUnderThreads() async {
        let histogram = Histogram(.bytes)
        await withTaskGroup { group in
            for _ in 0..<4 {
                group.addTask { @concurrent in
                    for value in 0..<10_000 { histogram.observe(Int64(value)) }
                }
            }
        }
        #expect(histogram.snapshot.count == 40_000)
        #expect(histogram.snapshot.sum == 4 * 49_995_000)
        #expect(histogram.snapshot.counts[0] == 4 * 65)
    }

    @Test func `families of one scrape see one number, and the next scrape another`() {
        let registry = MetricsRegistry()
        let scrapes = registry.scrapes
        for name in ["martlet_a", "martlet_b"] {
            registry.gauges(name, "A family.") { [([], Double(scrapes.current))] }
        }
        for number in 1...2 {
            let text = PrometheusText.render(registry)
            #expect(
                text.contains("martlet_a \(number)\n") && text.contains("martlet_b \(number)\n"))
        }
    }
}
