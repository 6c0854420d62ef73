extension BrokerConfiguration {
    static let storageSection = ConfigurationSection(
        name: "storage",
        documentation:
            "The data directory, the way to the disk, and what the broker holds at most.",
        keys: storagePlaceKeys + storageSyncKeys + storageDiskKeys + storageLimitKeys
    )

    private static let storagePlaceKeys: [ConfigurationKey] = [
        .path(
            ("storage", "data"), \.storage.data,
            "The data directory. It is made when it is missing, and locked by one broker at a time."
        ),
        .number(
            ("storage", "io.queues"), \.storage.ioQueues, .integer(0...256),
            "Queues that serve connections; each connection stays on one. 0: one per two cores."),
        .number(
            ("storage", "flush.concurrency"), \.storage.flushConcurrency, .integer(1...64),
            "Partitions that are synced to disk at the same time."),
        .number(
            ("storage", "disk.readers"), \.storage.diskReaders, .integer(1...64),
            "Queues for reads that miss the page cache."),
        .number(
            ("storage", "open.files.max"), \.storage.openFilesMax, .integer(0...10_000_000),
            "Log and index files that are kept open. 0: what the process's limit leaves "
                + "beside the connections."
        ),
    ]

    private static let storageSyncKeys: [ConfigurationKey] = [
        .number(
            ("storage", "unsynced.durable.bytes.max"), \.storage.unsyncedDurableBytesMax,
            .bytes(8 * mebibyte...64 * gibibyte),
            "Bytes of durable topics that were written and not yet synced, over all "
                + "partitions; above it the connections that produce them are not read."
        ),
        .number(
            ("storage", "unsynced.durable.partition.bytes.max"),
            \.storage.unsyncedDurablePartitionBytesMax, .bytes(8 * mebibyte...64 * gibibyte),
            "The same for one partition."),
        .number(
            ("storage", "unsynced.written.bytes.max"), \.storage.unsyncedWrittenBytesMax,
            .bytes(8 * mebibyte...tebibyte),
            "The same for topics with durability = written. A quarter of the kernel's dirty "
                + "limit holds as well."
        ),
        .number(
            ("storage", "unsynced.written.partition.bytes.max"),
            \.storage.unsyncedWrittenPartitionBytesMax, .bytes(8 * mebibyte...tebibyte),
            "The same for one partition of such a topic."),
        .number(
            ("storage", "written.sync.interval"), \.storage.writtenSyncIntervalMilliseconds,
            .duration(10...hour),
            "Topics with durability = written are synced in the background after so long."),
        .number(
            ("storage", "written.sync.bytes"), \.storage.writtenSyncBytes,
            .bytes(mebibyte...64 * gibibyte),
            "And as soon as one partition has so many bytes that are not synced."),
    ]

    private static let storageDiskKeys: [ConfigurationKey] = [
        .number(
            ("storage", "disk.free.low"), \.storage.diskFreeLowBytes, .bytes(0...64 * tebibyte),
            reloadable: true,
            "With less free space than this the broker refuses producers with DISK_FULL; "
                + "groups wait with commits and acks; reading goes on."
        ),
        .number(
            ("storage", "disk.free.high"), \.storage.diskFreeHighBytes,
            .bytes(mebibyte...64 * tebibyte), reloadable: true,
            "Producers are accepted again from this much free space on. More than disk.free.low."),
        .number(
            ("storage", "disk.reserve"), \.storage.diskReserveBytes, .bytes(0...gibibyte),
            "Size of a file that is given up when the disk is full, so that marks can still "
                + "be written."
        ),
        .number(
            ("storage", "scrub.interval"), \.storage.scrubIntervalMilliseconds,
            .duration(minute...10 * 366 * day, forever: true), reloadable: true,
            "Within this time every stored batch is read and its checksum verified; -1 never."),
        .number(
            ("storage", "scrub.bytes.max"), \.storage.scrubBytesPerSecondMax,
            .bytes(65_536...gibibyte), reloadable: true,
            "Bytes a second that are read for it at most. Where that is too little for all that is "
                + "stored, it takes longer."),
    ]

    private static let storageLimitKeys: [ConfigurationKey] = [
        .number(
            ("storage", "producer.expiry"), \.storage.producerExpiryMilliseconds,
            .duration(minute...10 * 366 * day),
            "An idempotent producer that is silent for so long is forgotten, and with it the "
                + "sequences by which its retries are known."
        ),
        .number(
            ("storage", "group.expiry"), \.storage.groupExpiryMilliseconds,
            .duration(minute...10 * 366 * day, forever: true),
            "A group that its first member made, and that nobody is in for so long, is deleted with "
                + "its offsets, unless somebody is still to see to it: dead or parked records, replays, "
                + "a pause, a policy of its own, or a topic that keeps records until it has them."
        ),
        .boolean(
            ("storage", "group.events"), \.storage.groupEvents,
            "Whether what happens to groups is written to the topic $group-events, which anybody may read: "
                + "who joins and goes, pauses, breakers, dead and parked records, resets."),
        .number(
            ("storage", "group.events.retention.time"),
            \.storage.groupEventsRetentionMilliseconds, .duration(minute...century, forever: true),
            "How long these are kept."),
        .number(
            ("storage", "group.events.retention.bytes"), \.storage.groupEventsRetentionBytes,
            .bytes(mebibyte...64 * tebibyte, forever: true),
            "And how many bytes of them; a segment of 16 MiB goes as a whole."),
        .number(
            ("storage", "topics.max"), \.storage.topicsMax, .integer(1...1_000_000),
            "Topics at most."),
        .number(
            ("storage", "partitions.max"), \.storage.partitionsMax, .integer(1...1_000_000),
            "Partitions at most, over all topics."),
        .number(
            ("storage", "producers.max"), \.storage.producersMax, .integer(1...100_000_000),
            "Idempotent producers that are remembered; the one silent longest goes first."),
        .number(
            ("storage", "rescue.bytes.max"), \.storage.rescueBytesMax, .bytes(0...tebibyte),
            "What retention is about to take, and members of a queue group had begun with, becomes dead "
                + "letters: so much of it in a group, which nobody has handled or resolved yet."),
        .number(
            ("storage", "message.ids.bytes.max"), \.storage.messageIDBytesMax,
            // The ids of the largest batch that any topic takes fit.
            .bytes(64 * mebibyte...tebibyte),
            "Memory for the message ids of all topics with a deduplication.window: the bytes of each "
                + "and 144 more. When it is full, new ids are refused with TOO_MANY_MESSAGE_IDS until "
                + "older ones leave their windows."),
        .number(
            ("storage", "retention.time.max"), \.storage.retentionMillisecondsMax,
            .duration(1...century, forever: true),
            "No topic is made, or changed, to keep records for longer by its retention.time; -1: as "
                + "long as it likes. Dead letters are kept all the same, and so is what compaction "
                + "leaves. Topics that are there keep what they have."),
    ]
}
