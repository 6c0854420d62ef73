import MartletTelemetry

/// What is counted of all groups together.
struct GroupCounters: Sendable {
    /// Partitions taken from members that did not give them up in time.
    let overruns: Counter
    /// Groups that nobody came back to.
    let expiries: Counter

    init(_ registry: MetricsRegistry) {
        overruns = registry.counter(
            "martlet_group_drain_overruns_total",
            "Partitions taken from members that did not give them up in their drain time.")
        expiries = registry.counter(
            "martlet_group_expiries_total",
            "Groups that are gone with their offsets because nobody was in them for group.expiry.")
    }
}
