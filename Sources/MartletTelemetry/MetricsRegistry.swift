import Synchronization

/// Label names are chosen by the code, values may come from anywhere.
package typealias MetricLabels = [(String, String)]

/// All metrics of a process. Handles are made once, at start or when a topic appears, and kept by
/// whoever counts; nothing here is looked up on a hot path. Asking again for the same name and
/// labels gives the same handle.
package final class MetricsRegistry: Sendable {
    enum Kind: String, Sendable {
        case counter
        case gauge
        case histogram
    }

    /// One row of a family: where its value comes from.
    enum Series: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)
        case reading(@Sendable () -> Double)
    }

    /// What a callback hands out: one value per set of labels.
    package typealias Samples = [(labels: MetricLabels, value: Double)]

    /// The same of histograms.
    package typealias Spreads = [(labels: MetricLabels, values: Histogram.Snapshot)]

    struct Row: Sendable {
        let labels: MetricLabels
        let series: Series
    }

    struct Family: Sendable {
        let name: String
        let help: String
        let kind: Kind
        var rows: [LabelKey: Row] = [:]
        var collect: (@Sendable () -> Samples)?
        var spreads: (buckets: HistogramBuckets, collect: @Sendable () -> Spreads)?
    }

    /// Labels as a value that can be compared, in the order of their names.
    struct LabelKey: Hashable, Comparable, Sendable {
        let parts: [String]

        init(_ labels: MetricLabels) {
            parts = labels.sorted { $0.0 < $1.0 }.flatMap { [$0.0, $0.1] }
        }

        static func < (left: LabelKey, right: LabelKey) -> Bool {
            left.parts.lexicographicallyPrecedes(right.parts)
        }
    }

    private let families = Mutex<[String: Family]>([:])

    package init() {}

    /// Names of counters end in `_total`.
    package func counter(_ name: String, _ help: String, _ labels: MetricLabels = []) -> Counter {
        precondition(name.hasSuffix("_total"), "a counter's name ends in _total: \(name)")
        let series = register(name, help, .counter, labels) { .counter(Counter()) }
        guard case .counter(let counter) = series else { preconditionFailure(name) }
        return counter
    }

    package func gauge(_ name: String, _ help: String, _ labels: MetricLabels = []) -> Gauge {
        let series = register(name, help, .gauge, labels) { .gauge(Gauge()) }
        guard case .gauge(let gauge) = series else { preconditionFailure(name) }
        return gauge
    }

    package func histogram(
        _ name: String,
        _ help: String,
        _ buckets: HistogramBuckets,
        _ labels: MetricLabels = []
    ) -> Histogram {
        let series = register(name, help, .histogram, labels) { .histogram(Histogram(buckets)) }
        guard case .histogram(let histogram) = series else { preconditionFailure(name) }
        return histogram
    }

    /// A gauge that is read when someone asks. The closure must not block and must not use the
    /// registry to register.
    package func gauge(
        _ name: String,
        _ help: String,
        _ labels: MetricLabels = [],
        read: @escaping @Sendable () -> Double
    ) {
        _ = register(name, help, .gauge, labels) { .reading(read) }
    }

    /// A counter whose number is kept elsewhere.
    package func counter(
        _ name: String,
        _ help: String,
        _ labels: MetricLabels = [],
        read: @escaping @Sendable () -> Double
    ) {
        precondition(name.hasSuffix("_total"), "a counter's name ends in _total: \(name)")
        _ = register(name, help, .counter, labels) { .reading(read) }
    }

    /// A family of gauges whose rows are known only when someone asks, such as one per partition.
    package func gauges(
        _ name: String,
        _ help: String,
        collect: @escaping @Sendable () -> Samples
    ) {
        families.withLock { families in
            var family = Self.family(name, help, .gauge, in: families)
            family.collect = collect
            families[name] = family
        }
    }

    /// The same of counters.
    package func counters(
        _ name: String,
        _ help: String,
        collect: @escaping @Sendable () -> Samples
    ) {
        precondition(name.hasSuffix("_total"), "a counter's name ends in _total: \(name)")
        families.withLock { families in
            var family = Self.family(name, help, .counter, in: families)
            family.collect = collect
            families[name] = family
        }
    }

    /// The same of histograms, each with one count more than there are bounds.
    package func histograms(
        _ name: String,
        _ help: String,
        _ buckets: HistogramBuckets,
        collect: @escaping @Sendable () -> Spreads
    ) {
        families.withLock { families in
            var family = Self.family(name, help, .histogram, in: families)
            family.spreads = (buckets, collect)
            families[name] = family
        }
    }

    /// Forgets every row that has all of these labels, such as those of a deleted topic. Handles
    /// that are still held go on working and are seen no more.
    package func remove(matching labels: MetricLabels) {
        families.withLock { families in
            families = families.mapValues { family in
                var family = family
                family.rows = family.rows.filter { _, row in
                    !labels.allSatisfy { label in row.labels.contains { $0 == label } }
                }
                return family
            }
        }
    }

    /// For callbacks of several families that share what is dear to collect.
    package let scrapes = ScrapeCount()

    /// A copy to render from, so that callbacks run outside the lock.
    var snapshot: [Family] {
        scrapes.begin()
        return families.withLock { $0.values.sorted { $0.name < $1.name } }
    }

    private func register(
        _ name: String,
        _ help: String,
        _ kind: Kind,
        _ labels: MetricLabels,
        _ make: () -> Series
    ) -> Series {
        for (label, _) in labels {
            precondition(Self.isName(label) && label != "le", "bad label \(label) of \(name)")
        }
        let key = LabelKey(labels)
        return families.withLock { families in
            var family = Self.family(name, help, kind, in: families)
            if let row = family.rows[key] { return row.series }
            let series = make()
            family.rows[key] = Row(labels: labels, series: series)
            families[name] = family
            return series
        }
    }

    private static func family(
        _ name: String,
        _ help: String,
        _ kind: Kind,
        in families: [String: Family]
    ) -> Family {
        if let family = families[name] {
            precondition(family.kind == kind, "\(name) is already a \(family.kind)")
            return family
        }
        precondition(isName(name) && name.hasPrefix("martlet_"), "bad metric name \(name)")
        return Family(name: name, help: help, kind: kind)
    }

    /// Narrower than Prometheus allows: lower case with underscores.
    private static func isName(_ name: String) -> Bool {
        name.utf8.enumerated().allSatisfy { place, byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): place > 0
            case _: false
            }
        } && !name.isEmpty
    }
}

/// Numbers scrapes: what was collected under another number is old.
package final class ScrapeCount: Sendable {
    private let count = Atomic<UInt64>(0)

    package var current: UInt64 { count.load(ordering: .relaxed) }

    func begin() { count.add(1, ordering: .relaxed) }
}
