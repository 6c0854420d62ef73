extension BrokerConfiguration {
    static let topicSection = ConfigurationSection(
        name: "topic",
        documentation: "What a topic has that does not set the same key for itself.",
        keys: topicKeys + topicAgeKeys
    )

    private static let topicKeys: [ConfigurationKey] = [
        .number(
            ("topic", "partitions"), \.topic.partitions, .integer(1...10_000),
            "Partitions of a topic that is created without a number."),
        .choice(
            ("topic", "durability"), \.topic.durability, ["durable", "written"],
            "durable: readers see a record once it is on disk. written: once it is in the "
                + "system's cache; a power cut may take the newest records, and their offsets are "
                + "never used again."
        ),
        .choice(
            ("topic", "cleanup"), \.topic.cleanup, ["delete", "compact", "compact,delete"],
            "delete: old segments go by age and size. compact: the newest record of each key "
                + "stays. compact,delete: both."
        ),
        .number(
            ("topic", "retention.time"), \.topic.retentionMilliseconds,
            .duration(1...century, forever: true),
            "How long records are kept, counted from the time the broker took them."),
        .number(
            ("topic", "retention.bytes"), \.topic.retentionBytes,
            .bytes(1...64 * tebibyte, forever: true),
            "Bytes that a partition keeps at most, exact to one segment."),
        .number(
            ("topic", "segment.bytes"), \.topic.segmentBytes, .bytes(64 * kibibyte...4 * gibibyte),
            "A partition begins a new file at this size. At least batch.bytes.max."),
        .number(
            ("topic", "segment.time"), \.topic.segmentMilliseconds, .duration(1...century),
            "And when its file is this old."),
        .number(
            ("topic", "batch.bytes.max"), \.topic.batchBytesMax, .bytes(kibibyte...8 * mebibyte),
            "Largest batch of records."),
    ]

    private static let topicAgeKeys: [ConfigurationKey] = [
        .number(
            ("topic", "event.time.future.max"), \.topic.eventTimeFutureMaxMilliseconds,
            .duration(0...century),
            "A batch whose event time is further ahead of the broker's clock is refused with "
                + "INVALID_TIMESTAMP; the past is not limited."
        ),
        .number(
            ("topic", "tombstone.retention"), \.topic.tombstoneRetentionMilliseconds,
            .duration(0...century),
            "How long compaction keeps a record without a value, so that every reader sees "
                + "the deletion."
        ),
        .number(
            ("topic", "compaction.lag"), \.topic.compactionLagMilliseconds, .duration(0...century),
            "Compaction leaves segments alone that are younger than this."),
        .number(
            ("topic", "deduplication.window"), \.topic.deduplicationWindowMilliseconds,
            .duration(0...hour),
            "A record is not stored again within this time when the message id in its header "
                + "message-id is that of another in its partition; the send succeeds. "
                + "0s: duplicates are stored."
        ),
    ]
}
