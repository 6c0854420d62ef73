import Glibc

/// A read-only mapping of a file, made only to ask which of its pages are in memory.
///
/// The mapped bytes are never touched: a truncated file would answer with SIGBUS. So the mapping
/// may be longer than the file, and the file may change its size underneath.
package final class MappedFile: Sendable {
    /// Bytes that the mapping covers, from the start of the file.
    package let length: Int64
    // The address as a number: it is only ever handed back to the kernel.
    private let address: UInt

    /// Maps the first `length` bytes. The mapping stays when the descriptor is closed.
    package init(descriptor: CInt, length: Int64, path: String = "") throws(SystemError) {
        let result = unsafe mmap(nil, Int(length), PROT_READ, MAP_SHARED, descriptor, 0)
        guard let result = unsafe result, unsafe result != MAP_FAILED else {
            let code = errno
            throw SystemError(call: "mmap", code: code, subject: path)
        }
        self.length = length
        self.address = UInt(bitPattern: result)
    }

    deinit {
        if let start = unsafe UnsafeMutableRawPointer(bitPattern: address) {
            _ = unsafe munmap(start, Int(length))
        }
    }

    /// Whether every page of the range was in memory a moment ago. False outside the mapping.
    ///
    /// Advice for choosing between serving now and asking a reader queue: a page can leave the
    /// memory between the answer and the use.
    package func isResident(_ range: Range<Int64>) -> Bool {
        if range.isEmpty { return true }
        guard range.lowerBound >= 0, range.upperBound <= length else { return false }
        let first = Int(range.lowerBound) / Self.pageBytes
        let end = (Int(range.upperBound) - 1) / Self.pageBytes + 1
        var page = first
        while page < end {
            let count = min(end - page, Self.pagesPerCall)
            if !arePagesResident(from: page, count: count) { return false }
            page += count
        }
        return true
    }

    // 512 pages are 2 MiB: one call for what one reply holds.
    private static let pagesPerCall = 512
    private static let pageBytes = Int(sysconf(CInt(_SC_PAGESIZE)))

    private func arePagesResident(from page: Int, count: Int) -> Bool {
        let start = address + UInt(page * Self.pageBytes)
        guard let pointer = unsafe UnsafeMutableRawPointer(bitPattern: start) else { return false }
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { vector in
            let result = unsafe mincore(pointer, count * Self.pageBytes, vector.baseAddress)
            guard result == 0 else { return false }
            // Only the lowest bit says something.
            return unsafe vector.allSatisfy { $0 & 1 == 1 }
        }
    }
}
