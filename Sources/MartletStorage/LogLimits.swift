/// Numbers that no broker reaches. What lies above them in a file is damage, also when its checksum
/// is right, so that sums of numbers below them never overflow.
enum LogLimits {
    /// Of offsets, positions in files, and times.
    static let offsetMax: Int64 = 1 << 62
    static let leaderEpochMax = Int32.max / 2
    static let partitionsPerTopicMax: Int32 = 1 << 20
}
