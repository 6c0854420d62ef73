import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import MartletWire

/// What a scrape sees of groups: also of those that nobody is in, and of partitions that were never
/// committed, because a group that stands still is the one to hear of. From memory alone.
struct GroupMetrics {
    private let groups: GroupService
    private let lag: GroupLag

    static func register(_ groups: GroupService, _ lag: GroupLag, _ registry: MetricsRegistry) {
        let metrics = GroupMetrics(groups: groups, lag: lag)
        registry.gauges("martlet_group_members", "Members in a group now.") {
            groups.descriptions.map { ([("group", $0.name)], Double($0.members.count)) }
        }
        registry.gauges(
            "martlet_group_lag_records",
            "Visible records that a group has not handled, by topic; never below 0."
        ) { metrics.rows { Double($0.records) } }
        registry.gauges(
            "martlet_group_lag_seconds",
            "At least so old is the oldest record that a group has not handled, by topic."
        ) { metrics.rows { Double($0.milliseconds) / 1_000 } }
        registry.gauges(
            "martlet_group_retention_headroom_seconds",
            "Time until retention by age may take a record that a group has not handled."
        ) { metrics.rows { known($0.headroomMilliseconds).map { $0 / 1_000 } } }
        registry.gauges(
            "martlet_group_retention_headroom_bytes",
            "Bytes until retention by size takes a record that a group has not handled."
        ) { metrics.rows { known($0.headroomBytes) } }
    }

    /// A row for each group and topic, where there is a value.
    private func rows(
        _ value: (GroupLagTotal) -> Double?
    ) -> [(labels: MetricLabels, value: Double)] {
        let all = groups.descriptions
        lag.keep(all)
        return all.flatMap { group in
            let lines = Dictionary(
                grouping: group.partitions.map { lag.line(group.name, $0, mayBlock: false) },
                by: \.owned.topic)
            return lines.sorted { $0.key < $1.key }.compactMap {
                topic, lines -> (labels: MetricLabels, value: Double)? in
                guard let name = lag.engine.topic(id: topic)?.name,
                    let value = value(GroupLag.total(lines))
                else { return nil }
                return ([("group", group.name), ("topic", name)], value)
            }
        }
    }

    private static func known(_ value: Int64) -> Double? { value < 0 ? nil : Double(value) }
}
