import CMartletShim

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
    /// True while a pool holds it. Only `SlabPool` touches this, under its lock.
    var isPooled = false

    private let base: UnsafeMutableRawPointer
    /// Private, so that the compiler sees every access and leaves out the run-time exclusivity checks,
    /// which cost more than an append.
    private var filled = 0

    /// The process ends when the system has no memory for it, as for any other object.
    package convenience init(capacity: Int) {
        guard let memory = unsafe Self.allocate(capacity) else { preconditionFailure("no memory") }
        unsafe self.init(memory, capacity)
    }

    /// Nil when the system has no memory for it.
    package convenience init?(ifPossible capacity: Int) {
        guard let memory = unsafe Self.allocate(capacity) else { return nil }
        unsafe self.init(memory, capacity)
    }

    private init(_ memory: UnsafeMutableRawPointer, _ capacity: Int) {
        self.capacity = capacity
        unsafe base = memory
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer? {
        precondition(capacity >= 0, "capacity is negative")
        return unsafe martlet_allocate(alignment, max(capacity, 1))
    }

    deinit {
        unsafe martlet_free(base)
    }

    /// The bytes filled so far.
    package var count: Int { filled }

    package var freeCapacity: Int { capacity &- filled }

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
        let size = try unsafe body(
            UnsafeMutableRawBufferPointer(start: base + filled, count: room)
        )
        precondition(size >= 0 && size <= room, "filled more than was lent")
        filled &+= size
        return size
    }

    package func append(_ bytes: RawSpan) {
        let size = bytes.byteCount
        precondition(size <= freeCapacity, "the slab is full")
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe (base + count).copyMemory(from: start, byteCount: size)
        }
        filled &+= size
    }

    package func append(_ byte: UInt8) {
        precondition(freeCapacity >= 1, "the slab is full")
        unsafe base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        filled &+= 1
    }

    /// Appends an integer of up to eight bytes in big-endian order, as wide as its type.
    @inlinable
    package func append<Value: FixedWidthInteger>(_ value: Value) {
        appendBigEndian(UInt64(truncatingIfNeeded: value), size: Value.bitWidth &>> 3)
    }

    /// Overwrites filled bytes with an integer of up to eight bytes in big-endian order.
    @inlinable
    package func patch<Value: FixedWidthInteger>(_ value: Value, at position: Int) {
        let size = Value.bitWidth &>> 3
        patchBigEndian(UInt64(truncatingIfNeeded: value), size: size, at: position)
    }

    /// Drops the first `size` bytes and moves the rest to the front.
    package func removePrefix(_ size: Int) {
        checkInside(0, size)
        guard size > 0 else { return }
        let rest = count &- size
        if rest > 0 {
            unsafe base.copyMemory(from: base + size, byteCount: rest)
        }
        filled = rest
    }

    /// Forgets what lies at and after `size`.
    package func truncate(to size: Int) {
        checkInside(0, size)
        filled = size
    }

    package func clear() { filled = 0 }

    /// Appends `size` zero bytes, to be patched later.
    package func appendZeros(_ size: Int) {
        precondition(size >= 0 && size <= freeCapacity, "the slab is full")
        unsafe (base + count).initializeMemory(as: UInt8.self, repeating: 0, count: size)
        filled &+= size
    }

    /// Counts the next `size` bytes as filled and says where they are: the caller writes all of them
    /// before anything else happens to the slab.
    @inline(__always)
    func reserve(_ size: Int) -> UnsafeMutableRawPointer {
        precondition(size >= 0 && size <= freeCapacity, "the slab is full")
        let start = unsafe base + count
        filled &+= size
        return unsafe start
    }

    @usableFromInline
    package func appendBigEndian(_ value: UInt64, size: Int) {
        precondition(size <= freeCapacity, "the slab is full")
        store(value, size: size, at: filled)
        filled &+= size
    }

    @usableFromInline
    package func patchBigEndian(_ value: UInt64, size: Int, at position: Int) {
        precondition(
            position >= 0 && position <= filled && size <= filled &- position,
            "outside the filled bytes"
        )
        store(value, size: size, at: position)
    }

    /// Writes the low `size` bytes of `value`, most significant first. The caller checked the bounds.
    @inline(__always)
    private func store(_ value: UInt64, size: Int, at position: Int) {
        switch size {
        case 1:
            let byte = UInt8(truncatingIfNeeded: value)
            unsafe base.storeBytes(of: byte, toByteOffset: position, as: UInt8.self)
        case 2:
            let big = UInt16(truncatingIfNeeded: value).bigEndian
            unsafe base.storeBytes(of: big, toByteOffset: position, as: UInt16.self)
        case 4:
            let big = UInt32(truncatingIfNeeded: value).bigEndian
            unsafe base.storeBytes(of: big, toByteOffset: position, as: UInt32.self)
        default:
            precondition(size == 8, "no such integer in the format")
            unsafe base.storeBytes(of: value.bigEndian, toByteOffset: position, as: UInt64.self)
        }
    }

    @inline(__always)
    private func checkInside(_ lower: Int, _ upper: Int) {
        precondition(lower >= 0 && lower <= upper && upper <= count, "outside the filled bytes")
    }
}
