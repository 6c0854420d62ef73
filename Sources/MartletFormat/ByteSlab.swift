/// Owned memory of a fixed capacity, filled from the front: `[0, count)` holds bytes, the rest is free.
///
/// It has one owner at a time and no lock: whoever holds it may read and write it, and hands it on
/// whole. That rule is what makes the unchecked `Sendable` true. Positions outside `[0, count)` and
/// appends that do not fit are programmer errors and stop the process: sizes that come from a peer or
/// a file are checked before they get here.
@safe package final class ByteSlab: @unchecked Sendable {
    /// A cache line, so that slabs never share one.
    package static let alignment = 64

    package let capacity: Int
    /// The bytes filled so far.
    package private(set) var count = 0
    /// True while a pool holds it. Only `SlabPool` touches this, under its lock.
    var isPooled = false

    private let base: UnsafeMutableRawPointer

    package init(capacity: Int) {
        precondition(capacity >= 0, "capacity is negative")
        self.capacity = capacity
        unsafe base = .allocate(byteCount: max(capacity, 1), alignment: Self.alignment)
    }

    deinit {
        unsafe base.deallocate()
    }

    package var freeCapacity: Int { capacity &- count }

    /// Everything filled so far.
    package var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            let span = unsafe RawSpan(_unsafeStart: base, byteCount: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// A part of the filled bytes.
    @_lifetime(borrow self)
    package func span(_ range: Range<Int>) -> RawSpan {
        checkInside(range.lowerBound, range.upperBound)
        let span = unsafe RawSpan(
            _unsafeStart: base + range.lowerBound,
            byteCount: range.count
        )
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Lends a part of the filled bytes to a call that wants a pointer.
    package func withUnsafeBytes<R, E>(
        _ range: Range<Int>,
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        checkInside(range.lowerBound, range.upperBound)
        return try unsafe body(
            UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
        )
    }

    /// Lends up to `atMost` bytes of the free space; `body` fills a prefix and returns its length.
    ///
    /// The free space is uninitialised memory. When `body` throws, nothing is added.
    @discardableResult
    package func fill<E>(
        atMost limit: Int = .max,
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Int
    ) throws(E) -> Int {
        let room = min(freeCapacity, max(limit, 0))
        let filled = try unsafe body(
            UnsafeMutableRawBufferPointer(start: base + count, count: room)
        )
        precondition(filled >= 0 && filled <= room, "filled more than was lent")
        count &+= filled
        return filled
    }

    package func append(_ bytes: RawSpan) {
        let size = bytes.byteCount
        precondition(size <= freeCapacity, "the slab is full")
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe (base + count).copyMemory(from: start, byteCount: size)
        }
        count &+= size
    }

    package func append(_ byte: UInt8) {
        precondition(freeCapacity >= 1, "the slab is full")
        unsafe base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    /// Appends an integer in big-endian order, as wide as its type.
    @inlinable
    package func append(_ value: some FixedWidthInteger) {
        let big = value.bigEndian
        unsafe Swift.withUnsafeBytes(of: big) { unsafe appendRaw($0) }
    }

    /// Overwrites filled bytes with an integer in big-endian order.
    @inlinable
    package func patch(_ value: some FixedWidthInteger, at position: Int) {
        let big = value.bigEndian
        unsafe Swift.withUnsafeBytes(of: big) { unsafe patchRaw($0, at: position) }
    }

    /// Drops the first `size` bytes and moves the rest to the front.
    package func removePrefix(_ size: Int) {
        checkInside(0, size)
        guard size > 0 else { return }
        let rest = count &- size
        if rest > 0 {
            unsafe base.copyMemory(from: base + size, byteCount: rest)
        }
        count = rest
    }

    /// Forgets what lies at and after `size`.
    package func truncate(to size: Int) {
        checkInside(0, size)
        count = size
    }

    package func clear() { count = 0 }

    /// Appends `size` zero bytes, to be patched later.
    package func appendZeros(_ size: Int) {
        precondition(size >= 0 && size <= freeCapacity, "the slab is full")
        unsafe (base + count).initializeMemory(as: UInt8.self, repeating: 0, count: size)
        count &+= size
    }

    /// Counts the next `size` bytes as filled and says where they are: the caller writes all of them
    /// before anything else happens to the slab.
    @inline(__always)
    func reserve(_ size: Int) -> UnsafeMutableRawPointer {
        precondition(size >= 0 && size <= freeCapacity, "the slab is full")
        let start = unsafe base + count
        count &+= size
        return unsafe start
    }

    @usableFromInline
    package func appendRaw(_ source: UnsafeRawBufferPointer) {
        precondition(source.count <= freeCapacity, "the slab is full")
        unsafe UnsafeMutableRawBufferPointer(start: base + count, count: source.count)
            .copyMemory(from: source)
        count &+= source.count
    }

    @usableFromInline
    package func patchRaw(_ source: UnsafeRawBufferPointer, at position: Int) {
        precondition(position >= 0 && position <= count, "outside the filled bytes")
        precondition(source.count <= count &- position, "outside the filled bytes")
        unsafe UnsafeMutableRawBufferPointer(start: base + position, count: source.count)
            .copyMemory(from: source)
    }

    @inline(__always)
    private func checkInside(_ lower: Int, _ upper: Int) {
        precondition(lower >= 0 && lower <= upper && upper <= count, "outside the filled bytes")
    }
}
