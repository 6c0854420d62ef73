import MartletConfiguration

/// When an alert is one: flags with defaults.
struct AlertThresholds {
    let job: String
    let lagRecords: Int64
    /// Times in milliseconds.
    let lagTime: Int64
    let lagTimeCritical: Int64
    let headroom: Int64
    let headroomCritical: Int64
    let diskPercent: Int64
    let diskFullIn: Int64
    let syncTime: Int64
    let descriptorPercent: Int64

    static let flags = [
        FlagSpec("job", value: "NAME", "The brokers' job in Prometheus; martlet."),
        FlagSpec("lag-records", value: "N", "More records, and growing, is a warning; 100000."),
        FlagSpec("lag-time", value: "TIME", "Older, and getting older, is a warning; 5m."),
        FlagSpec("lag-time-critical", value: "TIME", "Older than this is critical; 1h."),
        FlagSpec("headroom", value: "TIME", "Less time until retention is a warning; 12h."),
        FlagSpec("headroom-critical", value: "TIME", "Less than this is critical; 1h."),
        FlagSpec("disk-percent", value: "N", "Less of the disk free is a warning; 10."),
        FlagSpec("disk-full-in", value: "TIME", "Full sooner at this rate is critical; 4h."),
        FlagSpec("sync-time", value: "TIME", "A slower p99 of syncs is a warning; 500ms."),
        FlagSpec("descriptor-percent", value: "N", "More descriptors open is a warning; 80."),
    ]

    init(_ context: CommandContext) throws {
        let invocation = context.invocation
        func time(_ flag: String, _ standard: Int64) throws -> Int64 {
            try invocation.milliseconds(flag, in: 1...366 * 86_400_000) ?? standard
        }
        func percent(_ flag: String, _ standard: Int64) throws -> Int64 {
            try invocation.integer(flag, in: 1...99) ?? standard
        }
        job = try Self.job(invocation.value("job") ?? "martlet", context)
        lagRecords = try invocation.integer("lag-records", in: 0...1 << 53) ?? 100_000
        lagTime = try time("lag-time", 5 * 60_000)
        lagTimeCritical = try time("lag-time-critical", 3_600_000)
        headroom = try time("headroom", 12 * 3_600_000)
        headroomCritical = try time("headroom-critical", 3_600_000)
        diskPercent = try percent("disk-percent", 10)
        diskFullIn = try time("disk-full-in", 4 * 3_600_000)
        syncTime = try time("sync-time", 500)
        descriptorPercent = try percent("descriptor-percent", 80)
    }

    /// It stands in quotes within a query.
    private static func job(_ name: String, _ context: CommandContext) throws -> String {
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            case _: "._-/:".utf8.contains(byte)
            }
        }
        guard isPlain, !name.isEmpty else {
            throw context.usage("--job: '\(name)' has other characters than letters, digits, ._-/:")
        }
        return name
    }
}
