import Glibc
import MartletFormat
import MartletTestSupport
import Testing

/// Readable memory that ends where an unreadable page begins: one byte read too far ends the process.
@safe private final class GuardedMemory {
    static let capacity = 64 * 1024
    private let base: UnsafeMutableRawPointer

    init?() {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        let size = Self.capacity + page
        guard
            let memory = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0),
            unsafe memory != MAP_FAILED,
            unsafe mprotect(memory + Self.capacity, page, PROT_NONE) == 0
        else { return nil }
        unsafe base = memory
    }

    deinit {
        unsafe munmap(base, Self.capacity + sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Lends the bytes, the last one just before the unreadable page.
    func with<R>(_ bytes: [UInt8], _ body: (RawSpan) throws -> R) rethrows -> R {
        precondition(bytes.count <= Self.capacity)
        let start = unsafe base + (Self.capacity - bytes.count)
        unsafe bytes.withUnsafeBytes { source in
            guard let from = source.baseAddress else { return }
            unsafe start.copyMemory(from: from, byteCount: bytes.count)
        }
        return try body(unsafe RawSpan(_unsafeStart: start, byteCount: bytes.count))
    }
}

@Suite("Reads past the end") struct OverreadTests {
    private func walk(_ batch: RawSpan) {
        do throws(FormatError) {
            let header = try RecordBatchHeader(reading: batch)
            var cursor = RecordCursor(header)
            while let record = try cursor.next(in: batch) {
                var headers = HeaderCursor(record)
                while try headers.next(in: batch) != nil {}
            }
        } catch {
            // Refused: what counts is that nothing was read past the end.
        }
        _ = try? RecordBatch.validateForAppend(batch)
    }

    @Test func `no damage makes the cursors read too far`() throws {
        let memory = try #require(GuardedMemory())
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(5_000) {
            let count = Int.random(in: 1...3, using: &random)
            let records = (0..<count).map { _ in random.record(around: 500) }
            var bytes = try #require(build(records))
            random.damage(&bytes)
            seal(&bytes)
            memory.with(bytes) { walk($0) }
        }
    }

    @Test func `long varints near the end make no cursor read too far`() throws {
        let memory = try #require(GuardedMemory())
        let long = [UInt8](repeating: 0x80, count: 4)
        let head =
            [UInt8(60) | 0x80] + long.dropLast() + [0, 0] + [UInt8](repeating: 0xFF, count: 7) + [1]
            + long + [0]
        // The key's and the value's lengths, in as many bytes as a varint may have.
        let parts: [[UInt8]] = [
            [], [1], long + [0], long + [0, 1, 1], [1, 1], [1] + long + [0], [2, 9, 1],
            [1, 4, 9, 9] + long + [0],
        ]
        for lengths in parts {
            for kept in 0...(head.count + lengths.count) {
                let batch = try #require(build([TestRecord()]))
                var bytes = Array(batch[..<61] + (head + lengths)[..<kept])
                seal(&bytes)
                memory.with(bytes) { walk($0) }
                // Once more with the record's right length.
                guard kept > 5 else { continue }
                bytes[61] = UInt8(2 * (kept - 5)) | 0x80
                seal(&bytes)
                memory.with(bytes) { walk($0) }
            }
        }
    }

    @Test func `no cut makes the cursors read too far`() throws {
        let memory = try #require(GuardedMemory())
        let bytes = try SampleBatch.bytes()
        for kept in 0...bytes.count {
            var cut = Array(bytes[..<kept])
            memory.with(cut) { walk($0) }
            guard kept >= RecordBatch.headerBytes else { continue }
            seal(&cut)
            memory.with(cut) { walk($0) }
        }
    }

    @Test func `integers and varints at the end`() throws {
        let memory = try #require(GuardedMemory())
        for count in 0...12 {
            for fill: UInt8 in [0, 0x7F, 0x80, 0xFF] {
                let bytes = [UInt8](repeating: fill, count: count)
                for start in 0...count {
                    memory.with(bytes) { span in
                        var position = start
                        _ = try? span.readUnsignedVarint("v", at: &position)
                        _ = try? span.readUInt64("v", at: &position)
                        _ = try? span.readUInt8("v", at: &position)
                    }
                }
            }
        }
    }

    @Test func `checksums at the end`() throws {
        let memory = try #require(GuardedMemory())
        var random = SeededRandom.announced()
        for length in [0..<1000, 4000..<4200, 8170..<8190].flatMap({ $0 }) {
            let bytes = random.bytes(length)
            let same = memory.with(bytes) { CRC32C.checksum($0) == CRC32C.software($0) }
            #expect(same)
        }
    }
}
