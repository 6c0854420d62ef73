/// Numbers that no broker reaches. What lies above them in a file is damage, also when its checksum
/// is right, so that sums of numbers below them never overflow.
enum LogLimits {
    /// Of offsets, positions in files, and times.
    static let offsetMax: Int64 = 1 << 62
    static let leaderEpochMax = Int32.max / 2
    static let partitionsPerTopicMax: Int32 = 1 << 20
    /// Of producers in one partition's table, also on disk. No sum, a matter of memory: with full
    /// windows 16 MB as a file.
    static let producersMax = 100_000
}
