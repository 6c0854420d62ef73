import MartletFormat

/// Values that no two records share: windows that wander over a pool of random bytes, each begun
/// with eight bytes that a bijection makes of a counter. Costs a few nanoseconds a record.
struct BenchValues: ~Copyable {
    private static let poolBytes = 4 << 20
    /// Odd, so that the windows fall on ever new places.
    private static let stride = 4_099

    private let pool: ByteSlab
    private let size: Int
    private var start = 0
    private var counter: UInt64

    /// - Parameter stream: makes the values of several sources distinct.
    init(size: Int, stream: Int) {
        self.size = size
        pool = DiskProbe.random(Self.poolBytes + size)
        counter = UInt64(truncatingIfNeeded: stream) << 44
    }

    /// The next value lies at this place of the pool.
    mutating func next() -> Range<Int> {
        start += Self.stride
        if start >= Self.poolBytes { start -= Self.poolBytes }
        counter &+= 1
        var random = BenchRandom(seed: counter)
        pool.patch(random.next(), at: start)
        return start..<(start + size)
    }

    /// The same with two times in front instead.
    mutating func next(intended: Int64, actual: Int64) -> Range<Int> {
        let range = next()
        pool.patch(intended, at: range.lowerBound)
        pool.patch(actual, at: range.lowerBound + 8)
        return range
    }

    @_lifetime(borrow self)
    func span(_ range: Range<Int>) -> RawSpan { pool.span(range) }

    func array(_ range: Range<Int>) -> [UInt8] {
        unsafe pool.withUnsafeBytes(range) { unsafe Array($0) }
    }
}

extension RawSpan {
    /// The two times in front of a value; nil when it is too short.
    var benchTimes: (intended: Int64, actual: Int64)? {
        guard byteCount >= 16 else { return nil }
        let intended = unsafe unsafeLoadUnaligned(fromByteOffset: 0, as: Int64.self)
        let actual = unsafe unsafeLoadUnaligned(fromByteOffset: 8, as: Int64.self)
        return (Int64(bigEndian: intended), Int64(bigEndian: actual))
    }

    /// The last byte; 0 when there is none.
    @inline(__always)
    var lastByte: UInt64 {
        guard byteCount > 0 else { return 0 }
        return UInt64(unsafe unsafeLoad(fromByteOffset: byteCount &- 1, as: UInt8.self))
    }
}
