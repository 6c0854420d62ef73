import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import MartletWire
import Synchronization

/// What a scrape sees of groups: also of those that nobody is in, and of partitions that were never
/// committed, because a group that stands still is the one to hear of. From memory alone, and all
/// families of one scrape from the same look.
final class GroupMetrics: Sendable {
    private struct Row {
        let labels: MetricLabels
        let total: GroupLagTotal
    }

    private struct Look {
        var scrape: UInt64 = 0
        var rows: [Row] = []
    }

    private let groups: GroupService
    private let lag: GroupLag
    private let scrapes: ScrapeCount
    private let look = Mutex(Look())

    private init(_ groups: GroupService, _ lag: GroupLag, _ scrapes: ScrapeCount) {
        self.groups = groups
        self.lag = lag
        self.scrapes = scrapes
    }

    static func register(_ groups: GroupService, _ lag: GroupLag, _ registry: MetricsRegistry) {
        let metrics = GroupMetrics(groups, lag, registry.scrapes)
        registry.gauges("martlet_group_members", "Members in a group now.") {
            groups.descriptions.map { ([("group", $0.name)], Double($0.members.count)) }
        }
        registry.gauges(
            "martlet_group_lag_records",
            "Visible records that a group has not handled, by topic; never below 0."
        ) { metrics.samples { Double($0.records) } }
        registry.gauges(
            "martlet_group_lag_seconds",
            "At least so old is the oldest record that a group has not handled, by topic."
        ) { metrics.samples { Double($0.milliseconds) / 1_000 } }
        registry.gauges(
            "martlet_group_retention_headroom_seconds",
            "Time until retention by age may take a record that a group has not handled."
        ) { metrics.samples { known($0.headroomMilliseconds).map { $0 / 1_000 } } }
        registry.gauges(
            "martlet_group_retention_headroom_bytes",
            "Bytes until retention by size takes a record that a group has not handled."
        ) { metrics.samples { known($0.headroomBytes) } }
    }

    /// A sample for each group and topic, where there is a value.
    private func samples(
        _ value: (GroupLagTotal) -> Double?
    ) -> [(labels: MetricLabels, value: Double)] {
        let scrape = scrapes.current
        let known = look.withLock { $0.scrape == scrape ? $0.rows : nil }
        let rows = known ?? collect()
        if known == nil { look.withLock { $0 = Look(scrape: scrape, rows: rows) } }
        return rows.compactMap { row in value(row.total).map { (row.labels, $0) } }
    }

    private func collect() -> [Row] {
        let all = groups.descriptions
        lag.keep(all)
        return all.flatMap { group in
            let lines = Dictionary(
                grouping: group.partitions.map { lag.line(group.name, $0, mayBlock: false) },
                by: \.owned.topic)
            return lines.sorted { $0.key < $1.key }.compactMap { topic, lines -> Row? in
                guard let name = lag.engine.topic(id: topic)?.name else { return nil }
                return Row(
                    labels: [("group", group.name), ("topic", name)], total: GroupLag.total(lines))
            }
        }
    }

    private static func known(_ value: Int64) -> Double? { value < 0 ? nil : Double(value) }
}
