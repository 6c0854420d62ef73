/// How long handlers ran: their calls by length, the sum and the longest. Counts and sums stand still
/// at their largest value instead of running over: they come from strangers.
package struct HandlerTimes: Equatable, Sendable {
    /// Upper bounds of the buckets in nanoseconds, 100 µs to 5 minutes; what is longer has a bucket
    /// behind them.
    package static let bounds: [Int64] = [
        100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000,
        50_000_000, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000,
        5_000_000_000, 10_000_000_000, 30_000_000_000, 60_000_000_000, 120_000_000_000,
        300_000_000_000,
    ]
    package static let bucketCount = bounds.count + 1

    /// Calls in each bucket alone; empty before the first.
    package private(set) var counts: [UInt64] = []
    /// Nanoseconds of all calls.
    package private(set) var sum: Int64 = 0
    /// Nanoseconds of the longest call.
    package private(set) var longest: Int64 = 0

    package init() {}

    /// nil for what no handlers can have taken.
    ///
    /// - Parameter buckets: with calls in them, in order.
    package init?(_ buckets: [(bucket: Int, count: UInt64)], sum: Int64, longest: Int64) {
        self.init()
        guard let last = buckets.last?.bucket else {
            if sum != 0 || longest != 0 { return nil }
            return
        }
        guard last == Self.bucket(of: longest), longest >= 0, sum >= longest else { return nil }
        counts = Array(repeating: 0, count: Self.bucketCount)
        var next = 0
        for (bucket, count) in buckets {
            guard bucket >= next, bucket < Self.bucketCount, count > 0 else { return nil }
            counts[bucket] = count
            next = bucket + 1
        }
        (self.sum, self.longest) = (sum, longest)
        let most = Int64(clamping: count).multipliedReportingOverflow(by: longest)
        if !most.overflow, sum > most.partialValue { return nil }
    }

    package var isEmpty: Bool { counts.isEmpty }

    /// Calls in all.
    package var count: UInt64 { counts.reduce(0) { $0.addingCapped($1) } }

    /// Nanoseconds; 0 without calls.
    package var mean: Int64 {
        let count = Int64(clamping: count)
        return count == 0 ? 0 : sum / count
    }

    /// Buckets with calls in them, in order.
    package var buckets: [(bucket: Int, count: UInt64)] {
        counts.enumerated().filter { $0.element > 0 }.map { ($0.offset, $0.element) }
    }

    /// At most so many nanoseconds took `percent` of the calls: the bound of a bucket, or the longest
    /// call. 0 without calls.
    package func bound(percent: UInt64) -> Int64 {
        let total = count
        // Rounded up, and without a product that runs over.
        let wanted = total / 100 * percent + (total % 100 * percent + 99) / 100
        var below: UInt64 = 0
        for (bound, count) in zip(Self.bounds, counts) {
            below = below.addingCapped(count)
            if below >= wanted { return min(bound, longest) }
        }
        return longest
    }

    package mutating func add(nanoseconds: Int64) {
        let time = max(0, nanoseconds)
        makeRoom()
        counts[Self.bucket(of: time)] = counts[Self.bucket(of: time)].addingCapped(1)
        sum = sum.addingCapped(time)
        longest = max(longest, time)
    }

    package mutating func add(_ other: HandlerTimes) {
        if other.isEmpty { return }
        makeRoom()
        for (bucket, count) in other.buckets {
            counts[bucket] = counts[bucket].addingCapped(count)
        }
        sum = sum.addingCapped(other.sum)
        longest = max(longest, other.longest)
    }

    private mutating func makeRoom() {
        if counts.isEmpty { counts = Array(repeating: 0, count: Self.bucketCount) }
    }

    /// The first one whose bound is not below.
    private static func bucket(of time: Int64) -> Int {
        bounds.firstIndex { time <= $0 } ?? bounds.count
    }
}

extension UInt64 {
    fileprivate func addingCapped(_ other: UInt64) -> UInt64 {
        let (sum, isOver) = addingReportingOverflow(other)
        return isOver ? .max : sum
    }
}

extension Int64 {
    /// Of two that are not negative.
    fileprivate func addingCapped(_ other: Int64) -> Int64 {
        let (sum, isOver) = addingReportingOverflow(other)
        return isOver ? .max : sum
    }
}
