import MartletFormat

/// Which damage the application was told of: the broker may hand the same records out again.
struct ToldDamage {
    /// Partitions and ranges: beyond, all are forgotten, and may be told once more.
    private static let max = 1_000

    private var ranges: [TopicPartition: RangeSet<Int64>] = [:]
    private var count = 0

    /// Whether there is anything in it that was not told; it counts as told from now on.
    mutating func isNew(_ damage: DamagedRecords) -> Bool {
        var known = ranges[damage.partition] ?? RangeSet()
        guard !RangeSet(damage.range).isSubset(of: known) else { return false }
        if count >= Self.max { (ranges, known, count) = ([:], RangeSet(), 0) }
        count += 1
        known.insert(contentsOf: damage.range)
        ranges[damage.partition] = known
        return true
    }
}
