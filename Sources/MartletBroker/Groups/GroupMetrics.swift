import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import MartletWire

/// What a scrape sees of groups: also of those that nobody is in, and of partitions that were never
/// committed, because a group that stands still is the one to hear of.
enum GroupMetrics {
    static func register(_ groups: GroupService, _ lag: GroupLag, _ registry: MetricsRegistry) {
        registry.gauges("martlet_group_members", "Members in a group now.") {
            groups.descriptions.map { ([("group", $0.name)], Double($0.members.count)) }
        }
        registry.gauges(
            "martlet_group_lag_records",
            "Visible records that a group has not handled, by topic; never below 0."
        ) {
            groups.descriptions.flatMap { lags(of: $0, lag) }
        }
    }

    private static func lags(
        of group: GroupDescription, _ lag: GroupLag
    ) -> [(labels: MetricLabels, value: Double)] {
        var sums: [TopicID: Int64] = [:]
        for partition in group.partitions {
            sums[partition.partition.topic, default: 0] += max(0, lag.line(partition).lag)
        }
        return sums.compactMap { topic, records in
            guard let name = lag.engine.topic(id: topic)?.name else { return nil }
            return ([("group", group.name), ("topic", name)], Double(records))
        }
    }
}
