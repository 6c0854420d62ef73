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

    /// What belongs to no single topic.
    private struct GroupRow {
        let group: String
        let members: Int
        let letters: LetterCounts
        /// Sent again, and neither handled nor gone nor dead.
        let replays: Int64
        let breaker: BreakerLine
        let handled: HandlerTimesByType
        let policyResets: [PolicyReset.Reason: UInt64]
        /// Of a queue; nil: of a stream.
        let queue: [QueueCounts]?
        /// Of a stream: what failed and is not done.
        let failing: Int64
        /// Set aside until somebody releases it.
        let parked: Int64
    }

    private struct Look {
        var scrape: UInt64 = 0
        var rows: [Row] = []
        var groups: [GroupRow] = []
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
            metrics.groupSamples { Double($0.members) }
        }
        metrics.registerRecords(registry)
        metrics.registerBreakers(registry)
        registry.counters(
            "martlet_group_policy_resets_total",
            "Partitions in which a member's reset policy chose where a stream group goes on."
        ) { metrics.policyResets }
        registry.histograms(
            "martlet_group_handler_seconds",
            "How long handlers of a group ran, by types of events, as members say.",
            .handlers
        ) { metrics.handlerSpreads }
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

    /// Where the records of a queue are, and dead letters.
    private func registerRecords(_ registry: MetricsRegistry) {
        registry.gauges(
            "martlet_group_dead_letters",
            "Dead letters of a group that nobody has handled, resolved or sent again."
        ) { self.groupSamples { Double($0.letters.dead) } }
        registry.gauges(
            "martlet_group_dead_letters_oldest_seconds",
            "How long ago the oldest of a group's dead letters died; 0 without any."
        ) {
            let now = self.lag.wallMilliseconds
            return self.groupSamples { row in
                Double(max(0, now - (row.letters.oldestAt ?? now))) / 1_000
            }
        }
        registry.gauges(
            "martlet_group_dead_letters_unstored",
            "Entries of dead letters that wait in $groups for their topic."
        ) { self.groupSamples { Double($0.letters.waiting) } }
        registry.gauges(
            "martlet_group_replay_records",
            "Records that were sent to a group again and are not handled yet, without dead letters."
        ) { self.groupSamples { Double($0.replays) } }
        registry.gauges(
            "martlet_group_failing_records",
            "Records of a stream group that a handler failed with, and no commit has passed since."
        ) { self.groupSamples { $0.queue == nil ? Double($0.failing) : nil } }
        registry.gauges(
            "martlet_group_in_flight_records",
            "Records of a queue group that members hold, and dead letters sent again."
        ) { self.queueSamples(\.inFlight) }
        registry.gauges(
            "martlet_group_delayed_records", "Records of a queue group that wait for their time."
        ) { self.queueSamples(\.delayed) }
        registry.gauges(
            "martlet_group_parked_records",
            "Records of a group that are set aside until somebody releases them."
        ) { self.groupSamples { Double($0.parked) } }
        registry.gauges(
            "martlet_group_expired_records",
            "Records of a queue group that retention or deletion took before they were handled."
        ) { self.queueSamples(\.expired) }
    }

    private func registerBreakers(_ registry: MetricsRegistry) {
        registry.gauges(
            "martlet_group_breaker_state",
            "What a group's breaker does: 0 closed, 1 half-open, 2 open and nothing is handed out."
        ) { self.groupSamples { Double($0.breaker.state.number) } }
        registry.counters(
            "martlet_group_breaker_opened_total",
            "How often a group's breaker opened because too much failed."
        ) { self.groupSamples { Double($0.breaker.openings) } }
    }

    /// A sample for each group and topic, where there is a value.
    private func samples(
        _ value: (GroupLagTotal) -> Double?
    ) -> [(labels: MetricLabels, value: Double)] {
        newest().rows.compactMap { row in value(row.total).map { (row.labels, $0) } }
    }

    /// A sample for each group, where there is a value.
    private func groupSamples(
        _ value: (GroupRow) -> Double?
    ) -> [(labels: MetricLabels, value: Double)] {
        newest().groups.compactMap { row in value(row).map { ([("group", row.group)], $0) } }
    }

    /// Zeros too: what was never there cannot be seen to grow.
    private var policyResets: MetricsRegistry.Samples {
        newest().groups.filter { $0.queue == nil }.flatMap { row in
            PolicyReset.Reason.allCases.map { reason in
                (
                    [("group", row.group), ("reason", reason.name)],
                    Double(row.policyResets[reason] ?? 0)
                )
            }
        }
    }

    /// Of groups whose members said anything.
    private var handlerSpreads: MetricsRegistry.Spreads {
        newest().groups.flatMap { row in
            row.handled.lines.sorted { $0.key < $1.key }.map { type, times in
                (
                    [("group", row.group), ("type", type)],
                    Histogram.Snapshot(counts: times.counts, sum: times.sum)
                )
            }
        }
    }

    private func queueSamples(
        _ count: (QueueCounts) -> Int64
    ) -> [(labels: MetricLabels, value: Double)] {
        groupSamples { row in
            row.queue.map { Double($0.reduce(Int64(0)) { sum, line in sum + count(line) }) }
        }
    }

    /// The look of this scrape.
    private func newest() -> Look {
        let scrape = scrapes.current
        if let known = look.withLock({ $0.scrape == scrape ? $0 : nil }) { return known }
        let all = groups.descriptions
        let found = Look(scrape: scrape, rows: collect(all), groups: all.map(Self.row))
        look.withLock { $0 = found }
        return found
    }

    private static func row(_ group: GroupDescription) -> GroupRow {
        let isQueue =
            switch group.kind {
            case .queue: true
            case .stream: false
            }
        return GroupRow(
            group: group.name, members: group.members.count, letters: group.letters,
            replays: group.replays.reduce(0) { $0 + $1.open }, breaker: group.breaker,
            handled: group.handled, policyResets: group.policyResets,
            queue: isQueue ? group.queues : nil,
            failing: group.partitions.reduce(0) { $0 + $1.failing },
            parked: (isQueue ? group.queues : []).reduce(0) { $0 + $1.parked }
                + group.partitions.reduce(0) { $0 + $1.parked })
    }

    private func collect(_ all: [GroupDescription]) -> [Row] {
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

extension HistogramBuckets {
    fileprivate static let handlers = HistogramBuckets(
        upperBounds: HandlerTimes.bounds, unitsPerShownUnit: 1e9)
}
