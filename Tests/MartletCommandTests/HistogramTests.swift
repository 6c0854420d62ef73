import MartletTestSupport
import Testing

@testable import martlet

@Suite struct HistogramTests {
    @Test func `percentiles are right to within a bucket`() {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<20 {
            var histogram = LatencyHistogram()
            let shift = UInt64.random(in: 1...60, using: &random)
            let values = (0..<5_000).map { _ in
                Int64(UInt64.random(in: 0 ... .max, using: &random) >> (64 - shift))
            }.sorted()
            for value in values { histogram.record(nanoseconds: value) }
            for part in [0.01, 0.5, 0.9, 0.99, 0.999, 1] {
                let index = max(1, Int((part * Double(values.count)).rounded(.up))) - 1
                let exact = values[index]
                let found = histogram.percentile(part)
                #expect(found >= exact, "seed \(seed)")
                #expect(Double(found) <= Double(exact) * 1.016 + 1, "seed \(seed)")
            }
            #expect(histogram.maximum == values.last)
            #expect(histogram.count == 5_000)
        }
    }

    @Test func `the ends of the range`() {
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: -5)
        histogram.record(nanoseconds: .max)
        #expect(histogram.percentile(0.5) == 0)
        #expect(histogram.percentile(1) == .max)
        #expect(LatencyHistogram().percentile(0.5) == 0)
    }

    @Test func `histograms add up`() {
        var left = LatencyHistogram()
        var right = LatencyHistogram()
        for value in 1...100 { left.record(nanoseconds: Int64(value)) }
        for value in 101...200 { right.record(nanoseconds: Int64(value)) }
        left.add(right)
        #expect(left.count == 200)
        #expect(left.mean == 100.5)
        #expect((100...101).contains(left.percentile(0.5)))
        #expect(left.maximum == 200)
    }

    @Test func `values of a measurement are distinct`() {
        var seen: Set<[UInt8]> = []
        for stream in 0..<4 {
            var values = BenchValues(size: 16, stream: stream)
            for _ in 0..<20_000 { seen.insert(values.array(values.next())) }
        }
        #expect(seen.count == 80_000)
    }
}
