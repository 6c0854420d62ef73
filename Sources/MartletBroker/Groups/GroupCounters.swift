import MartletTelemetry

/// What is counted of all groups together.
struct GroupCounters: Sendable {
    /// Partitions taken from members that did not give them up in time.
    let overruns: Counter
    /// Groups that nobody came back to.
    let expiries: Counter
    /// Written to `$group-events`, and not.
    let events: Counter
    let eventsDropped: Counter

    init(_ registry: MetricsRegistry) {
        overruns = registry.counter(
            "martlet_group_drain_overruns_total",
            "Partitions taken from members that did not give them up in their drain time.")
        expiries = registry.counter(
            "martlet_group_expiries_total",
            "Groups that are gone with their offsets because nobody was in them for group.expiry.")
        events = registry.counter(
            "martlet_group_events_total", "Events of groups that were written to $group-events.")
        eventsDropped = registry.counter(
            "martlet_group_events_dropped_total",
            "Events of groups that found no room and are not in $group-events.")
    }
}
