/// Names of the files in a partition's directory.
///
/// | name | what |
/// |---|---|
/// | `<base>.log`, `<base>.g<n>.log` | record batches from offset `base` on; `g<n>` after the n-th compaction |
/// | `<base>.index`, `<base>.g<n>.index` | sparse index of that log file, rebuildable |
/// | `prepared.log`, `prepared.index` | the next segment, made ahead of the roll |
/// | `<offset>.producers` | producers' state as of `offset`, rebuildable |
/// | `<base>.torn-<milliseconds>` | bytes that recovery cut off a torn tail, kept for a person |
/// | `*.tmp` | a file that was being written; removed at start |
enum LogFileNames {
    static let preparedLog = "prepared.log"
    static let preparedIndex = "prepared.index"
    static let temporarySuffix = ".tmp"

    static func digits(_ offset: Int64) -> String {
        let text = String(offset)
        return String(repeating: "0", count: max(0, 20 - text.count)) + text
    }

    private static func stem(_ base: Int64, _ generation: UInt32) -> String {
        generation == 0 ? digits(base) : "\(digits(base)).g\(generation)"
    }

    static func log(_ base: Int64, generation: UInt32) -> String {
        stem(base, generation) + ".log"
    }

    static func index(_ base: Int64, generation: UInt32) -> String {
        stem(base, generation) + ".index"
    }

    static func producers(_ offset: Int64) -> String { digits(offset) + ".producers" }

    static func torn(_ base: Int64, at milliseconds: Int64) -> String {
        "\(digits(base)).torn-\(milliseconds)"
    }

    /// What a directory entry is; nil for a name that is not ours, which is left alone.
    enum Entry: Equatable {
        case log(base: Int64, generation: UInt32)
        case index(base: Int64, generation: UInt32)
        case producers(offset: Int64)
        case prepared
        case temporary
        case torn
    }

    static func parse(_ name: String) -> Entry? {
        if name == preparedLog || name == preparedIndex { return .prepared }
        if name.hasSuffix(temporarySuffix) { return .temporary }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 2, let base = offset(parts[0]) else { return nil }
        if parts.count == 2 {
            switch parts[1] {
            case "log": return .log(base: base, generation: 0)
            case "index": return .index(base: base, generation: 0)
            case "producers": return .producers(offset: base)
            case let part where part.hasPrefix("torn-"): return .torn
            default: return nil  // a stranger's file
            }
        }
        guard parts.count == 3, parts[1].first == "g",
            let generation = UInt32(parts[1].dropFirst()), generation > 0,
            parts[1] == "g\(generation)"
        else { return nil }
        switch parts[2] {
        case "log": return .log(base: base, generation: generation)
        case "index": return .index(base: base, generation: generation)
        default: return nil  // a stranger's file
        }
    }

    private static func offset(_ text: Substring) -> Int64? {
        guard text.utf8.count == 20, text.utf8.allSatisfy({ (48...57).contains($0) }) else {
            return nil
        }
        return Int64(text).flatMap { $0 <= LogLimits.offsetMax ? $0 : nil }
    }
}
