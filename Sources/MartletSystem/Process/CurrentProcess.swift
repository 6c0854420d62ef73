import CMartletShim
import Glibc

/// Facts about this process, and the few settings that hold for all of it.
package enum CurrentProcess {
    package static var id: Int32 { getpid() }

    /// Bytes of physical memory in use; nil when `/proc` is not there.
    package static var residentBytes: Int64? {
        // statm: sizes in pages; the second number is the resident set.
        guard let text = readSmallFile("/proc/self/statm") else { return nil }
        let fields = text.split(separator: " ")
        guard fields.count >= 2, let pages = Int64(fields[1]) else { return nil }
        return pages.multipliedReportingOverflow(by: Int64(sysconf(CInt(_SC_PAGESIZE))))
            .partialValue
    }

    /// Open descriptors; nil when `/proc` is not there.
    package static var openDescriptorCount: Int? {
        // One of the entries is the descriptor that lists them.
        countEntries("/proc/self/fd").map { $0 - 1 }
    }

    package static var threadCount: Int? { countEntries("/proc/self/task") }

    /// Processor time used so far by all threads, in nanoseconds.
    package static var processorNanoseconds: Int64 {
        var time = timespec()
        guard unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }

    /// Physical memory of the machine in bytes.
    package static var machineMemoryBytes: Int64 {
        let pages = Int64(sysconf(CInt(_SC_PHYS_PAGES)))
        let unit = Int64(sysconf(CInt(_SC_PAGESIZE)))
        return max(0, pages) * max(0, unit)
    }

    /// Processors that the process may run on.
    package static var processorCount: Int { max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }

    /// Name of the machine; empty when it has none.
    package static var hostName: String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            unsafe buffer.initialize(repeating: 0)
            // One byte stays zero also when the name is cut.
            guard let base = buffer.baseAddress, unsafe gethostname(base, 255) == 0 else {
                return ""
            }
            return unsafe String(cString: base)
        }
    }

    /// Environment variables. Later changes by C code are not followed.
    package static let environment: [String: String] = {
        var variables: [String: String] = [:]
        guard var entry = unsafe martlet_environment() else { return variables }
        while let text = unsafe entry.pointee {
            let pair = unsafe String(cString: text)
            if let equals = pair.firstIndex(of: "=") {
                variables[String(pair[..<equals])] = String(pair[pair.index(after: equals)...])
            }
            unsafe entry += 1
        }
        return variables
    }()

    /// Files made from now on are for this user only, whatever mode their maker asks for.
    package static func restrictFileModes() {
        _ = umask(0o077)
    }

    /// Ends the process at once, without running anything that was registered for the end.
    package static func exitNow(_ status: Int32) -> Never {
        _exit(status)
    }

    private static func countEntries(_ path: String) -> Int? {
        do {
            return try PosixFileSystem().list(path).count
        } catch {
            return nil
        }
    }

    /// Up to 4 KiB of a file; nil when it cannot be read.
    static func readSmallFile(_ path: String) -> String? {
        do {
            let file = try PosixFileSystem().open(path, .readOnly)
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe file.read(into: buffer, at: 0)
            }
            return String(decoding: bytes[..<count], as: UTF8.self)
        } catch {
            return nil
        }
    }
}

/// How many descriptors the process may have open.
package struct ProcessLimits: Equatable, Sendable {
    package let descriptors: Int
    /// Up to here the process may raise the limit by itself.
    package let descriptorsMax: Int

    package static func current() throws(SystemError) -> ProcessLimits {
        let limit = try read()
        return ProcessLimits(
            descriptors: Int(clamping: limit.rlim_cur),
            descriptorsMax: Int(clamping: limit.rlim_max)
        )
    }

    /// Raises the limit to `wanted`, or as far as allowed; never lowers it. Returns what holds now.
    @discardableResult
    package static func raiseDescriptors(to wanted: Int) throws(SystemError) -> ProcessLimits {
        var limit = try read()
        let target = min(rlim_t(clamping: wanted), limit.rlim_max)
        if target > limit.rlim_cur {
            limit.rlim_cur = target
            try SystemCall.check("setrlimit") {
                unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            }
        }
        return try current()
    }

    private static func read() throws(SystemError) -> rlimit {
        var limit = rlimit()
        try SystemCall.check("getrlimit") {
            unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return limit
    }
}
