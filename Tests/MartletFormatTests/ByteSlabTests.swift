import MartletFormat
import Synchronization
import Testing

@Suite("Byte slab") struct ByteSlabTests {
    @Test func `integers are big-endian and as wide as their type`() throws {
        let slab = ByteSlab(capacity: 64)
        slab.append(UInt8(0xAB))
        slab.append(Int8(-2))
        slab.append(UInt16(0x0102))
        slab.append(Int32(-3))
        slab.append(UInt64(0x0102_0304_0506_0708))
        #expect(
            array(slab.bytes) == [
                0xAB, 0xFE, 1, 2, 0xFF, 0xFF, 0xFF, 0xFD, 1, 2, 3, 4, 5, 6, 7, 8,
            ]
        )
        slab.patch(Int16(-1), at: 2)
        #expect(array(slab.span(1..<5)) == [0xFE, 0xFF, 0xFF, 0xFF])
        #expect(slab.freeCapacity == 48)
    }

    @Test func `every integer reads back at its extremes`() throws {
        func check<Value: FixedWidthInteger & Sendable>(
            _ type: Value.Type,
            _ read: (borrowing RawSpan, inout Int) throws(FormatError) -> Value
        ) throws {
            for value in [Value.min, Value.max, 0, 1, Value.max / 3] {
                let slab = ByteSlab(capacity: 16)
                slab.append(UInt8(0))
                slab.append(value)
                var position = 1
                let got = try read(slab.bytes, &position)
                #expect(got == value)
                #expect(position == slab.count)
                var behind = 2
                #expect(
                    throws: FormatError.truncated(
                        field: "f",
                        at: 2,
                        need: value.bitWidth / 8,
                        have: value.bitWidth / 8 - 1
                    )
                ) { _ = try read(slab.bytes, &behind) }
                #expect(behind == 2)
            }
        }
        try check(UInt8.self) { bytes, at throws(FormatError) in try bytes.readUInt8("f", at: &at) }
        try check(Int8.self) { bytes, at throws(FormatError) in try bytes.readInt8("f", at: &at) }
        try check(UInt16.self) { bytes, at throws(FormatError) in
            try bytes.readUInt16("f", at: &at)
        }
        try check(Int16.self) { bytes, at throws(FormatError) in try bytes.readInt16("f", at: &at) }
        try check(UInt32.self) { bytes, at throws(FormatError) in
            try bytes.readUInt32("f", at: &at)
        }
        try check(Int32.self) { bytes, at throws(FormatError) in try bytes.readInt32("f", at: &at) }
        try check(UInt64.self) { bytes, at throws(FormatError) in
            try bytes.readUInt64("f", at: &at)
        }
        try check(Int64.self) { bytes, at throws(FormatError) in try bytes.readInt64("f", at: &at) }
    }

    @Test func `a position outside the bytes is refused`() {
        let slab = ByteSlab(capacity: 8)
        slab.append(UInt64(1))
        for start in [-1, Int.min, 9, Int.max] {
            var position = start
            #expect(throws: FormatError.truncated(field: "f", at: start, need: 4, have: 0)) {
                _ = try slab.bytes.readUInt32("f", at: &position)
            }
            #expect(position == start)
        }
    }

    @Test func `filling adds what the body says, and nothing when it throws`() {
        let slab = ByteSlab(capacity: 10)
        let added = unsafe slab.fill(atMost: 4) { room in
            #expect(room.count == 4)
            unsafe room.copyBytes(from: [1, 2, 3])
            return 3
        }
        #expect(added == 3)
        #expect(array(slab.bytes) == [1, 2, 3])
        #expect(throws: FormatError.self) {
            try unsafe slab.fill { _ throws(FormatError) in
                throw .truncated(field: "f", at: 0, need: 1, have: 0)
            }
        }
        #expect(slab.count == 3)
        let rest = unsafe slab.fill { room in room.count }
        #expect(rest == 7)
        #expect(slab.freeCapacity == 0)
    }

    @Test func `prefixes and tails go, the rest stays`() {
        let slab = ByteSlab(capacity: 300)
        slab.append(unsafe [UInt8](0..<200).span.bytes)
        slab.removePrefix(3)
        #expect(array(slab.bytes) == [UInt8](3..<200))
        slab.removePrefix(0)
        slab.truncate(to: 10)
        #expect(array(slab.bytes) == [UInt8](3..<13))
        slab.removePrefix(10)
        #expect(slab.count == 0)
        slab.append(UInt8(9))
        slab.clear()
        #expect(slab.count == 0)
        #expect(slab.freeCapacity == 300)
    }

    @Test func `an empty slab lends empty spans`() {
        let slab = ByteSlab(capacity: 0)
        #expect(array(slab.bytes).isEmpty)
        #expect(array(slab.span(0..<0)).isEmpty)
        slab.append(unsafe [UInt8]().span.bytes)
        #expect(slab.count == 0)
    }

    @Test func `memory is aligned to cache lines`() {
        for capacity in [1, 100, 5000, 1 << 20] {
            let slab = ByteSlab(capacity: capacity)
            slab.append(UInt8(1))
            let aligned = unsafe slab.withUnsafeBytes(0..<1) { bytes in
                Int(bitPattern: bytes.baseAddress) % ByteSlab.alignment == 0
            }
            #expect(aligned)
        }
    }
}

@Suite("Slab pool") struct SlabPoolTests {
    @Test func `sizes are powers of two of at least 4 KiB`() {
        let pool = SlabPool(retainedBytesMax: 0)
        for (asked, got) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (1 << 20, 1 << 20)] {
            #expect(pool.take(atLeast: asked).capacity == got)
        }
    }

    @Test func `the last one given is the first one taken, and empty`() {
        let pool = SlabPool(retainedBytesMax: 1 << 20)
        let first = pool.take(atLeast: 5000)
        let second = pool.take(atLeast: 5000)
        second.append(UInt64(1))
        pool.give(first)
        pool.give(second)
        #expect(pool.retainedBytes == 16_384)
        let taken = pool.take(atLeast: 8000)
        #expect(taken === second)
        #expect(taken.count == 0)
        #expect(pool.take(atLeast: 8000) === first)
        #expect(pool.take(atLeast: 8000) !== first)
        #expect(pool.retainedBytes == 0)
    }

    @Test func `it keeps no more than it may`() {
        let pool = SlabPool(retainedBytesMax: 12_000)
        let slabs = (0..<3).map { _ in pool.take(atLeast: 1) }
        slabs.forEach(pool.give)
        #expect(pool.retainedBytes == 8192)
        pool.give(ByteSlab(capacity: 3000))
        #expect(pool.retainedBytes == 8192)
    }

    @Test func `what the system refuses is no slab, and what lies unused is given for it`() {
        let refusals = Mutex(0)
        let pool = SlabPool(retainedBytesMax: 1 << 20) { capacity in
            let isRefused = refusals.withLock { left in
                defer { left = max(0, left - 1) }
                return left > 0
            }
            return isRefused ? nil : ByteSlab(capacity: capacity)
        }
        pool.give(pool.take(atLeast: 8_192))
        refusals.withLock { $0 = 1 }
        // What lies there is enough.
        #expect(pool.takeIfPossible(atLeast: 8_192) != nil)
        pool.give(pool.take(atLeast: 8_192))
        #expect(pool.takeIfPossible(atLeast: 65_536)?.capacity == 65_536)
        #expect(pool.retainedBytes == 0)
        refusals.withLock { $0 = 2 }
        #expect(pool.takeIfPossible(atLeast: 65_536) == nil)
        #expect(pool.takeIfPossible(atLeast: 65_536) != nil)
    }

    @Test func `a slab that no machine has is refused`() {
        #expect(ByteSlab(ifPossible: 1 << 62) == nil)
        #expect(ByteSlab(ifPossible: 1 << 16)?.capacity == 1 << 16)
    }

    @Test func `two takers at once never hold the same slab`() async {
        let pool = SlabPool(retainedBytesMax: 1 << 16)
        let intact = await withTaskGroup(of: Bool.self) { group in
            for task in 0..<4 {
                group.addTask {
                    var intact = true
                    for round in 0..<2000 {
                        let slab = pool.take(atLeast: 4096)
                        let mark = UInt64(task) << 32 | UInt64(round)
                        slab.append(mark)
                        slab.append(~mark)
                        var position = 0
                        let back = try? slab.bytes.readUInt64("mark", at: &position)
                        intact = intact && back == mark && slab.count == 16
                        pool.give(slab)
                    }
                    return intact
                }
            }
            return await group.allSatisfy { $0 }
        }
        #expect(intact)
    }

    @Test func `giving a slab back twice stops the process`() async {
        await #expect(processExitsWith: .failure) {
            let pool = SlabPool(retainedBytesMax: 1 << 16)
            let slab = pool.take(atLeast: 1)
            pool.give(slab)
            pool.give(slab)
        }
    }

    @Test func `writing past the end stops the process`() async {
        await #expect(processExitsWith: .failure) {
            let slab = ByteSlab(capacity: 7)
            slab.append(UInt64(1))
        }
    }
}
