import Testing

@testable import MartletFormat

/// How long handlers ran, as members count it and say it.
@Suite struct HandlerTimesTests {
    private static func times(_ nanoseconds: [Int64]) -> HandlerTimes {
        var times = HandlerTimes()
        for time in nanoseconds { times.add(nanoseconds: time) }
        return times
    }

    @Test func `a bound belongs to its bucket, and one more to the next`() {
        for (bucket, bound) in HandlerTimes.bounds.enumerated() {
            #expect(Self.times([bound]).buckets.map(\.bucket) == [bucket])
            #expect(Self.times([bound + 1]).buckets.map(\.bucket) == [bucket + 1])
        }
        #expect(Self.times([0, -5, .min]).buckets.map(\.count) == [3])
        #expect(Self.times([.max]).buckets.map(\.bucket) == [HandlerTimes.bucketCount - 1])
    }

    @Test func `no quantile lies below the true one, nor above its bucket or the longest`() {
        var state: UInt64 = 7
        for size in [1, 2, 3, 99, 100, 101, 1_000] {
            let all = (0..<size).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1
                return Int64(state >> 44) * 1_000
            }.sorted()
            let times = Self.times(all)
            for percent: UInt64 in [1, 50, 99, 100] {
                let place = (size * Int(percent) + 99) / 100 - 1
                let bound = times.bound(percent: percent)
                let limit = HandlerTimes.bounds.first { all[place] <= $0 } ?? .max
                #expect(bound >= all[place] && bound <= limit && bound <= times.longest)
            }
            #expect(times.count == UInt64(size) && times.longest == all.last)
            #expect(times.mean == all.reduce(0, +) / Int64(size))
        }
        let none = HandlerTimes()
        #expect(none.isEmpty && none.mean == 0 && none.bound(percent: 99) == 0)
    }

    @Test func `parts add up to the whole`() {
        let (first, second): ([Int64], [Int64]) = ([10, 3_000_000], [400_000_000_000, 90_000])
        var sum = Self.times(first)
        sum.add(Self.times(second))
        sum.add(HandlerTimes())
        #expect(sum == Self.times(first + second))
        let again = HandlerTimes(sum.buckets, sum: sum.sum, longest: sum.longest)
        #expect(again == sum)
        #expect(HandlerTimes([], sum: 0, longest: 0)?.isEmpty == true)
    }

    @Test func `what cannot be is refused`() {
        func made(
            _ buckets: [(bucket: Int, count: UInt64)], _ sum: Int64, _ longest: Int64
        ) -> HandlerTimes? {
            HandlerTimes(buckets, sum: sum, longest: longest)
        }
        #expect(made([(0, 1), (1, 1)], 250_000, 150_000) != nil)
        #expect(made([(HandlerTimes.bucketCount, 1)], .max, .max) == nil)
        #expect(made([(-1, 1), (1, 1)], 250_000, 150_000) == nil)
        #expect(made([(1, 1), (0, 1)], 250_000, 50_000) == nil)
        #expect(made([(1, 1), (1, 1)], 350_000, 200_000) == nil)
        #expect(made([(0, 0), (1, 1)], 150_000, 150_000) == nil)
        // The longest is not in the last bucket; the sum is less than it, or more than can be.
        #expect(made([(0, 1)], 150_000, 150_000) == nil)
        #expect(made([(1, 2)], 100_000, 150_000) == nil)
        #expect(made([(1, 2)], 400_000, 150_000) == nil)
        #expect(made([(0, 1)], -1, -1) == nil)
        #expect(made([], 1, 0) == nil && made([], 0, 1) == nil)
    }

    @Test func `the largest numbers stand still`() throws {
        let last = HandlerTimes.bucketCount - 1
        var times = try #require(HandlerTimes([(0, .max), (last, .max)], sum: .max, longest: .max))
        times.add(times)
        times.add(nanoseconds: .max)
        #expect(times.count == .max && times.sum == .max && times.longest == .max)
        #expect(times.mean == 1 && times.bound(percent: 99) == 100_000)
        #expect(HandlerTimes(times.buckets, sum: times.sum, longest: times.longest) == times)
    }
}
