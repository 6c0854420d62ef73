import Glibc

/// What a process holds of its machine.
struct ProcessSize {
    let residentBytes: Int64
    let descriptors: Int64

    /// 0 of a process that is gone.
    init(_ id: pid_t) {
        descriptors = Self.count("/proc/\(id)/fd")
        residentBytes = Self.pages("/proc/\(id)/statm") * Int64(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func count(_ folder: String) -> Int64 {
        guard let open = unsafe opendir(folder) else { return 0 }
        defer { unsafe closedir(open) }
        var count: Int64 = 0
        while unsafe readdir(open) != nil { count += 1 }
        // Without itself and its parent.
        return max(0, count - 2)
    }

    /// The second number of the file: what is resident.
    private static func pages(_ file: String) -> Int64 {
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(descriptor, $0.baseAddress, $0.count)
        }
        guard count > 0 else { return 0 }
        let numbers = buffer[..<count].split(separator: 32)
        return numbers.dropFirst().first.flatMap { Int64(String(decoding: $0, as: UTF8.self)) } ?? 0
    }
}
