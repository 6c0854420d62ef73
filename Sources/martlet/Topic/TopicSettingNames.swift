import MartletConfiguration

/// Topic settings as people write them (`retention.time=7d`, the names of `[topic]` in the
/// configuration) and as the broker keeps them (`retention.ms=604800000`). Both are taken.
enum TopicSettingNames {
    private enum Unit {
        case milliseconds, bytes, word
    }

    private static let table: [(human: String, wire: String, unit: Unit)] = [
        ("durability", "durability", .word),
        ("cleanup", "cleanup.policy", .word),
        ("retention.mode", "retention.mode", .word),
        ("retention.time", "retention.ms", .milliseconds),
        ("retention.bytes", "retention.bytes", .bytes),
        ("segment.bytes", "segment.bytes", .bytes),
        ("segment.time", "segment.ms", .milliseconds),
        ("batch.bytes.max", "batch.bytes.max", .bytes),
        ("event.time.future.max", "event.time.future.max.ms", .milliseconds),
        ("tombstone.retention", "tombstone.retention.ms", .milliseconds),
        ("compaction.lag", "compaction.lag.ms", .milliseconds),
        ("deduplication.window", "deduplication.window.ms", .milliseconds),
    ]

    /// Of the settings in `-o json`.
    static let jsonMeaning =
        "With -o json each setting has its 'name', as in the table, and its 'key' with the 'value' as "
        + "the broker keeps it: a number whose unit the key says (retention.ms), -1 for without end, "
        + "or a word. Commands take the one as well as the other."

    static let list = table.map(\.human).joined(separator: ", ")

    /// The broker's name. One that nobody knows here is the broker's to refuse.
    static func wireKey(_ key: String) throws(ToolError) -> String {
        if let row = table.first(where: { $0.human == key || $0.wire == key }) { return row.wire }
        let hint = NearestName.suggestion(for: key, in: table.map(\.human))
        throw ToolError.usage(
            "unknown setting '\(key)'\(hint.isEmpty ? "; known are \(list)" : hint)")
    }

    /// The broker's text of a value that was written behind either name of a setting.
    static func wireValue(_ value: String, of key: String) throws(ToolError) -> String {
        guard let row = table.first(where: { $0.human == key || $0.wire == key }),
            row.unit != .word
        else { return value }
        if value == "forever" || value == "-1" { return "-1" }
        // A name that says its unit takes bare numbers.
        if key == row.wire, Int64(value) != nil { return value }
        do throws(UnitError) {
            let number =
                row.unit == .bytes ? try Units.bytes(value) : try Units.milliseconds(value)
            return "\(number)"
        } catch {
            throw ToolError.usage("\(row.human): \(error)")
        }
    }

    static func humanKey(_ wireKey: String) -> String {
        table.first { $0.wire == wireKey }?.human ?? wireKey
    }

    static func humanValue(_ value: String, of wireKey: String) -> String {
        guard let row = table.first(where: { $0.wire == wireKey }), let number = Int64(value) else {
            return value
        }
        switch row.unit {
        case .word: return value
        case .milliseconds: return number < 0 ? "forever" : Units.format(milliseconds: number)
        case .bytes: return number < 0 ? "no limit" : Units.format(bytes: number)
        }
    }
}
