import MartletStorage

extension Scenario {
    static let all: [Scenario] = [
        appends, watched, together, rolls, retention, written, topics, restarts, marks, bounded,
        compaction, messages,
    ]

    static let appends = Scenario(
        name: "durable appends",
        weights: [.send: 8, .pump: 8, .resend: 2, .read: 3, .tick: 1, .settle: 1], steps: 60,
        topics: [(2, [:])], producersPerLog: 2)

    static let watched = Scenario(
        name: "readers at the end",
        weights: [.send: 6, .read: 8, .pump: 2, .resend: 1], steps: 60, topics: [(1, [:])],
        producersPerLog: 2)

    static let together = Scenario(
        name: "partitions flushed together",
        weights: [.send: 14, .pump: 4, .settle: 2, .resend: 1, .read: 3, .tick: 1], steps: 60,
        topics: [(4, [:])],
        change: { $0.syncFileSystemThreshold = 2 })

    static let rolls = Scenario(
        name: "segment rolls",
        weights: [.send: 10, .pump: 8, .settle: 2, .resend: 1, .read: 2, .tick: 1], steps: 60,
        topics: [(1, [:])], producersPerLog: 2, valueBytes: 400,
        change: { $0.defaults.segmentBytes = 1200 })

    static let retention = Scenario(
        name: "retention and delete-records",
        weights: [
            .send: 10, .pump: 8, .settle: 2, .resend: 1, .read: 2, .tick: 4, .deleteRecords: 2,
        ],
        steps: 60, topics: [(1, ["retention.bytes": "3000"]), (1, [:])], producersPerLog: 2,
        valueBytes: 400, change: { $0.defaults.segmentBytes = 1200 })

    static let written = Scenario(
        name: "written topic",
        weights: [
            .send: 10, .pump: 6, .settle: 1, .resend: 1, .read: 4, .tick: 1, .deleteRecords: 1,
            .kill: 1, .restart: 1,
        ],
        steps: 50, topics: [(2, ["durability": "written"])], producersPerLog: 2, valueBytes: 400)

    static let topics = Scenario(
        name: "topics",
        weights: [
            .send: 8, .pump: 6, .settle: 1, .read: 2, .create: 2, .delete: 1, .alter: 2,
            .addPartitions: 2, .tick: 1,
        ],
        steps: 50, topics: [(1, [:]), (1, [:])])

    static let restarts = Scenario(
        name: "restart after restart",
        weights: [
            .send: 10, .pump: 8, .settle: 1, .resend: 1, .read: 2, .tick: 2, .restart: 1, .kill: 2,
        ],
        steps: 60, topics: [(1, [:]), (1, ["durability": "written"])], producersPerLog: 2,
        valueBytes: 300)

    static let marks = Scenario(
        name: "marks rewritten",
        weights: [.send: 10, .pump: 10, .settle: 3, .tick: 6, .read: 1, .restart: 1], steps: 80,
        topics: [(2, [:]), (1, ["durability": "written"])],
        change: {
            $0.marksRewriteBytes = 240
            $0.marksAheadBytes = 160
        })

    static let compaction = Scenario(
        name: "compaction",
        weights: [
            .send: 12, .pump: 10, .settle: 2, .resend: 1, .read: 2, .tick: 4, .restart: 1, .kill: 1,
        ],
        steps: 60, topics: [(1, ["cleanup.policy": "compact"])], producersPerLog: 2,
        valueBytes: 300, change: { $0.defaults.segmentBytes = 1200 })

    static let messages = Scenario(
        name: "messages sent twice",
        weights: [
            .send: 14, .pump: 10, .settle: 2, .resend: 2, .read: 3, .tick: 3, .restart: 1, .kill: 1,
            .deleteRecords: 1,
        ],
        steps: 60, topics: [(1, messageSettings), (1, messageSettings)], producersPerLog: 3,
        valueBytes: 300, repeats: true, change: { $0.defaults.segmentBytes = 1200 })

    private static let messageSettings = ["deduplication.window.ms": "3600000"]

    static let bounded = Scenario(
        name: "bounded un-synced bytes",
        weights: [.send: 12, .pump: 6, .settle: 1, .read: 2, .tick: 1], steps: 60,
        topics: [(2, [:]), (1, ["durability": "written"])], producersPerLog: 2, valueBytes: 400,
        change: {
            $0.unsyncedDurableBytesMax = 1500
            $0.unsyncedDurablePartitionBytesMax = 900
            $0.unsyncedWrittenBytesMax = 1500
            $0.unsyncedWrittenPartitionBytesMax = 900
        })
}
