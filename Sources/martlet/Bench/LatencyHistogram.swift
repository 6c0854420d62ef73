import MartletJSON

/// Counts of times in buckets of fixed bounds: 64 a power of two, so that each is known to within
/// 1.6 %, from one nanosecond to 146 years, in 29 KiB. Recording neither allocates nor searches.
struct LatencyHistogram: Sendable {
    private static let bits = 6
    private static let half = 1 << bits

    private var counts = [UInt64](repeating: 0, count: (64 - bits) * half + half)
    private(set) var count: UInt64 = 0
    private(set) var maximum: Int64 = 0
    private var total: Double = 0

    init() {}

    mutating func record(nanoseconds: Int64) {
        let value = max(0, nanoseconds)
        counts[Self.index(UInt64(value))] &+= 1
        count &+= 1
        total += Double(value)
        maximum = max(maximum, value)
    }

    mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
        count &+= other.count
        total += other.total
        maximum = max(maximum, other.maximum)
    }

    /// Nanoseconds.
    var mean: Double { count == 0 ? 0 : total / Double(count) }

    /// The smallest time that at least this part of the recorded ones does not exceed, in
    /// nanoseconds, rounded up to its bucket's end.
    func percentile(_ part: Double) -> Int64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((part * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, bucket) in counts.enumerated() {
            seen &+= bucket
            if seen >= wanted { return min(maximum, Self.upperBound(index)) }
        }
        return maximum
    }

    /// `{"mean":..,"p50":..,"p99":..,"p999":..,"max":..,"samples":..}` in microseconds; null
    /// where nothing was recorded.
    var json: JSONValue {
        func microseconds(_ nanoseconds: Double) -> JSONValue {
            count == 0 ? .null : .double((nanoseconds / 10).rounded() / 100)
        }
        return [
            "mean": microseconds(mean), "p50": microseconds(Double(percentile(0.5))),
            "p99": microseconds(Double(percentile(0.99))),
            "p999": microseconds(Double(percentile(0.999))),
            "max": microseconds(Double(maximum)), "samples": JSONValue(count),
        ]
    }

    /// Values below 64 have a bucket each; above, the leading seven bits name the bucket.
    private static func index(_ value: UInt64) -> Int {
        let shift = max(0, 64 - bits - 1 - value.leadingZeroBitCount)
        return shift << bits + Int(truncatingIfNeeded: value >> UInt64(shift))
    }

    private static func upperBound(_ index: Int) -> Int64 {
        let shift = max(0, index >> bits - 1)
        let leading = UInt64(index - shift << bits)
        let next = (leading + 1) << UInt64(shift)
        return Int64(clamping: next &- 1)
    }
}
