import Synchronization

/// A number that only grows. The handle is made once and kept; adding is one atomic instruction.
package final class Counter: Sendable {
    private let storage = Atomic<UInt64>(0)

    package init() {}

    package func add(_ amount: Int = 1) {
        storage.wrappingAdd(UInt64(max(0, amount)), ordering: .relaxed)
    }

    package var value: UInt64 { storage.load(ordering: .relaxed) }
}

/// A number that goes up and down.
package final class Gauge: Sendable {
    private let storage = Atomic<Int64>(0)

    package init() {}

    package func set(_ value: Int64) {
        storage.store(value, ordering: .relaxed)
    }

    package func add(_ amount: Int64 = 1) {
        storage.wrappingAdd(amount, ordering: .relaxed)
    }

    package func subtract(_ amount: Int64 = 1) {
        storage.wrappingSubtract(amount, ordering: .relaxed)
    }

    package var value: Int64 { storage.load(ordering: .relaxed) }
}

/// The upper bounds of a histogram's buckets, in the unit in which values are observed, and what
/// one of these units is in the unit that is shown.
package struct HistogramBuckets: Equatable, Sendable {
    package let upperBounds: [Int64]
    package let unitsPerShownUnit: Double

    /// Bounds must rise; the bucket without bound comes by itself.
    package init(upperBounds: [Int64], unitsPerShownUnit: Double = 1) {
        precondition(zip(upperBounds, upperBounds.dropFirst()).allSatisfy { $0 < $1 })
        precondition(unitsPerShownUnit > 0)
        self.upperBounds = upperBounds
        self.unitsPerShownUnit = unitsPerShownUnit
    }

    /// Observed in nanoseconds, shown in seconds: 10 us to 30 s in steps of 1-2-5 and some.
    package static let latency = HistogramBuckets(
        upperBounds: [
            10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
            1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000,
            100_000_000, 200_000_000, 500_000_000, 1_000_000_000, 5_000_000_000, 30_000_000_000,
        ],
        unitsPerShownUnit: 1e9
    )

    /// Observed and shown in bytes: 64 B to 16 MiB in steps of four.
    package static let bytes = HistogramBuckets(upperBounds: (3...12).map { 1 << ($0 * 2) })
}

/// How values are spread. Values are integers (nanoseconds, bytes), so that the sum is exact.
package final class Histogram: Sendable {
    package struct Snapshot: Sendable {
        /// Values in each bucket alone; one more than there are bounds.
        package let counts: [UInt64]
        package let sum: Int64

        package init(counts: [UInt64], sum: Int64) {
            self.counts = counts
            self.sum = sum
        }

        package var count: UInt64 { counts.reduce(0, &+) }
        /// Of all values; 0 when there are none.
        package var mean: Int64 {
            let count = Int64(clamping: count)
            return count == 0 ? 0 : sum / count
        }

        /// The bound below which at least `percent` of the values lie; nil when there are none, or
        /// when some of them lie above the last bound.
        package func bound(percent: UInt64, in buckets: HistogramBuckets) -> Int64? {
            let total = count
            guard total > 0 else { return nil }
            var below: UInt64 = 0
            for (bound, count) in zip(buckets.upperBounds, counts) {
                below &+= count
                if below &* 100 >= total &* percent { return bound }
            }
            return nil
        }
    }

    package let buckets: HistogramBuckets
    private let counts: [Counter]
    private let sum = Gauge()

    package init(_ buckets: HistogramBuckets) {
        self.buckets = buckets
        counts = (0...buckets.upperBounds.count).map { _ in Counter() }
    }

    package func observe(_ value: Int64) {
        var low = 0
        var high = buckets.upperBounds.count
        while low < high {
            let middle = (low + high) / 2
            if buckets.upperBounds[middle] < value { low = middle + 1 } else { high = middle }
        }
        counts[low].add(1)
        sum.add(value)
    }

    package var snapshot: Snapshot {
        Snapshot(counts: counts.map(\.value), sum: sum.value)
    }
}
