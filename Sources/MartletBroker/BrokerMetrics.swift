import MartletTelemetry
import MartletWire

/// Every metric of the broker module: names, help, and handles that are made once.
final class BrokerMetrics: Sendable {
    let bytesReceived: Counter
    let bytesSent: Counter
    let recordsIn: Counter
    let batchesIn: Counter
    let batchBytesIn: Counter
    let batchBytesOut: Counter
    let memoryPauses: Counter
    let storagePauses: Counter
    let diskFetches: Counter
    let readFailures: Counter
    let diskLoads: Counter
    let parkedFetches: Gauge
    let groupResets: Counter
    let produceLatency: Histogram
    let fetchLatency: Histogram
    let listener: ListenerMetrics
    let adminListener: ListenerMetrics
    private let requests: [Operation: Counter]
    private let errors: [ErrorCode: Counter]
    private let closes: [CloseReason: Counter]

    init(_ registry: MetricsRegistry) {
        func counter(_ name: String, _ help: String, _ labels: MetricLabels = []) -> Counter {
            registry.counter("martlet_broker_" + name, help, labels)
        }
        bytesReceived = counter("received_bytes_total", "Bytes received from clients.")
        bytesSent = counter("sent_bytes_total", "Bytes sent to clients.")
        recordsIn = counter("records_in_total", "Records appended by producers.")
        batchesIn = counter("batches_in_total", "Record batches appended by producers.")
        batchBytesIn = counter("batch_bytes_in_total", "Bytes of batches appended by producers.")
        batchBytesOut = counter("batch_bytes_out_total", "Bytes of batches sent to consumers.")
        memoryPauses = counter(
            "memory_pauses_total", "Times a connection waited for memory to read a request.")
        storagePauses = counter(
            "storage_pauses_total", "Times a connection waited until the storage took its batch.")
        diskFetches = counter("disk_fetches_total", "Fetches that had to ask the disk.")
        diskLoads = counter(
            "disk_loads_total", "Replies whose bytes had left the page cache before they were sent."
        )
        readFailures = counter(
            "read_failures_total", "Reads of records that the disk did not answer.")
        groupResets = registry.counter(
            "martlet_group_resets_total", "Partitions in which a person set how far a group is.")
        parkedFetches = registry.gauge(
            "martlet_broker_parked_fetches", "Fetches that wait for records.")
        produceLatency = registry.histogram(
            "martlet_broker_produce_seconds", "From a produce request to its reply.", .latency)
        fetchLatency = registry.histogram(
            "martlet_broker_fetch_seconds", "From a fetch request to its reply, waits included.",
            .latency)
        listener = ListenerMetrics(registry, listener: "clients")
        adminListener = ListenerMetrics(registry, listener: "admin")
        requests = Self.table(Operation.allCases) {
            counter("requests_total", "Requests by operation.", [("operation", $0.name)])
        }
        errors = Self.table(ErrorCode.allCases.filter { $0 != .none }) {
            counter("errors_total", "Errors answered, by code.", [("code", $0.name)])
        }
        closes = Self.table(CloseReason.allCases) {
            counter("connections_closed_total", "Connections closed.", [("reason", $0.rawValue)])
        }
    }

    func count(_ operation: Operation) {
        requests[operation]?.add()
    }

    func count(_ error: ErrorCode) {
        errors[error]?.add()
    }

    func count(_ reason: CloseReason) {
        closes[reason]?.add()
    }

    private static func table<Key: Hashable>(
        _ keys: [Key], _ make: (Key) -> Counter
    ) -> [Key: Counter] {
        Dictionary(uniqueKeysWithValues: keys.map { ($0, make($0)) })
    }
}

/// What one listener counts.
struct ListenerMetrics: Sendable {
    let accepted: Counter
    private let refused: [RefusalReason: Counter]

    init(_ registry: MetricsRegistry, listener: String) {
        accepted = registry.counter(
            "martlet_broker_connections_accepted_total", "Connections accepted.",
            [("listener", listener)])
        refused = Dictionary(
            uniqueKeysWithValues: RefusalReason.allCases.map { reason in
                (
                    reason,
                    registry.counter(
                        "martlet_broker_connections_refused_total", "Connections turned away.",
                        [("listener", listener), ("reason", reason.rawValue)])
                )
            })
    }

    func count(_ reason: RefusalReason) {
        refused[reason]?.add()
    }
}
