package import MartletTelemetry

/// What storage counts. Handles are made once.
struct StorageMetrics: Sendable {
    let appendedBatches: Counter
    let appendedBytes: Counter
    let duplicates: Counter
    let duplicateMessages: Counter
    let flushes: Counter
    let flushNanoseconds: Histogram
    let damagedRanges: Counter
    let tornBytes: Counter
    let deletedSegments: Counter
    let overtakenOffsets: Counter
    let compactedSegments: Counter
    let scrubbedBytes: Counter
    let scrubPasses: Counter
    let scrubUnread: Counter
    let housekeepingRounds: Counter

    init(_ registry: MetricsRegistry) {
        appendedBatches = registry.counter(
            "martlet_storage_appended_batches_total", "Record batches appended to partition logs.")
        appendedBytes = registry.counter(
            "martlet_storage_appended_bytes_total", "Bytes appended to partition logs.")
        duplicates = registry.counter(
            "martlet_storage_duplicate_batches_total",
            "Batches of idempotent producers that were there already.")
        duplicateMessages = registry.counter(
            "martlet_storage_duplicate_messages_total",
            "Records that were not stored, because their message id was in the topic's window.")
        flushes = registry.counter(
            "martlet_storage_flushes_total", "Calls that made partition logs durable.")
        flushNanoseconds = registry.histogram(
            "martlet_storage_flush_seconds", "Time that one flush took.",
            .flushDurations)
        damagedRanges = registry.counter(
            "martlet_storage_damaged_ranges_total", "Damaged ranges found in partition logs.")
        tornBytes = registry.counter(
            "martlet_storage_torn_bytes_total", "Bytes of torn tails cut off by recovery.")
        deletedSegments = registry.counter(
            "martlet_storage_deleted_segments_total", "Segments removed by retention.")
        overtakenOffsets = registry.counter(
            "martlet_storage_overtaken_offsets_total",
            "Offsets that retention took before a group of an until-consumed topic handled them.")
        compactedSegments = registry.counter(
            "martlet_storage_compacted_segments_total", "Segments rewritten by compaction.")
        scrubbedBytes = registry.counter(
            "martlet_storage_scrubbed_bytes_total", "Stored bytes read again to find damage.")
        scrubPasses = registry.counter(
            "martlet_storage_scrub_passes_total", "Times that every stored batch was checked.")
        scrubUnread = registry.counter(
            "martlet_storage_scrub_unread_partitions_total",
            "Partitions that a scrub could not read to their ends.")
        housekeepingRounds = registry.counter(
            "martlet_storage_housekeeping_rounds_total",
            "Rounds of retention, compaction and scrubbing; one a second.")
    }
}

extension HistogramBuckets {
    /// 50 µs to 10 s, in nanoseconds, shown in seconds.
    static var flushDurations: HistogramBuckets {
        HistogramBuckets(
            upperBounds: [
                50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000,
                12_800_000, 25_600_000, 51_200_000, 102_400_000, 409_600_000, 1_638_400_000,
                10_000_000_000,
            ], unitsPerShownUnit: 1_000_000_000)
    }
}

extension StorageEngine {
    /// What the message ids of all partitions take now.
    package var messageIDBytes: Int { context.messageIDs.bytes }

    /// How long syncs of logs took since the start, in nanoseconds.
    package var flushDurations: Histogram { context.metrics.flushNanoseconds }
}
