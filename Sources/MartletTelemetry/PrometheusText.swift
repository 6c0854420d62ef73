/// The text exposition format of Prometheus, version 0.0.4.
package enum PrometheusText {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// All families by name, the rows of each by their labels. Families without a row are left out.
    package static func render(_ registry: MetricsRegistry) -> String {
        var output = ""
        for family in registry.snapshot {
            append(family, to: &output)
        }
        return output
    }

    private static func append(_ family: MetricsRegistry.Family, to output: inout String) {
        var rows = ""
        for (_, row) in family.rows.sorted(by: { $0.key < $1.key }) {
            append(row, of: family.name, to: &rows)
        }
        for sample in family.collect?() ?? [] {
            append(family.name, sample.labels, number(sample.value), to: &rows)
        }
        if let (buckets, collect) = family.spreads {
            for spread in collect() {
                append(spread.values, buckets, family.name, spread.labels, to: &rows)
            }
        }
        guard !rows.isEmpty else { return }
        output += "# HELP \(family.name) \(escaped(family.help, quote: false))\n"
        output += "# TYPE \(family.name) \(family.kind.rawValue)\n"
        output += rows
    }

    private static func append(
        _ row: MetricsRegistry.Row,
        of name: String,
        to output: inout String
    ) {
        switch row.series {
        case .counter(let counter): append(name, row.labels, "\(counter.value)", to: &output)
        case .gauge(let gauge): append(name, row.labels, "\(gauge.value)", to: &output)
        case .reading(let read): append(name, row.labels, number(read()), to: &output)
        case .histogram(let histogram):
            append(histogram.snapshot, histogram.buckets, name, row.labels, to: &output)
        }
    }

    /// Buckets are cumulative, and the count is their sum, so that the two never disagree while
    /// others observe.
    private static func append(
        _ snapshot: Histogram.Snapshot,
        _ buckets: HistogramBuckets,
        _ name: String,
        _ labels: MetricLabels,
        to output: inout String
    ) {
        let scale = buckets.unitsPerShownUnit
        var running: UInt64 = 0
        for (bound, count) in zip(buckets.upperBounds, snapshot.counts) {
            running &+= count
            let label = ("le", number(Double(bound) / scale))
            append("\(name)_bucket", labels + [label], "\(running)", to: &output)
        }
        append("\(name)_bucket", labels + [("le", "+Inf")], "\(snapshot.count)", to: &output)
        append("\(name)_sum", labels, number(Double(snapshot.sum) / scale), to: &output)
        append("\(name)_count", labels, "\(snapshot.count)", to: &output)
    }

    private static func append(
        _ name: String,
        _ labels: MetricLabels,
        _ value: String,
        to output: inout String
    ) {
        output += name
        if !labels.isEmpty {
            let pairs = labels.map { "\($0.0)=\"\(escaped($0.1, quote: true))\"" }
            output += "{\(pairs.joined(separator: ","))}"
        }
        output += " \(value)\n"
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return "\(whole)" }
        return "\(value)"
    }

    private static func escaped(_ text: String, quote: Bool) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quote: result += "\\\""
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
