import Glibc

/// How many bytes of files the kernel lets be dirty, of all processes together, before it makes
/// whoever writes wait for the disk.
package enum DirtyLimit {
    /// As it is now; nil when the system does not tell.
    package static var bytes: Int64? {
        let page = Int64(sysconf(CInt(_SC_PAGESIZE)))
        return CurrentProcess.readSmallFile("/proc/vmstat").flatMap { bytes($0, page: page) }
    }

    /// Reads it from the text of `/proc/vmstat`, which counts pages.
    package static func bytes(_ vmstat: String, page: Int64) -> Int64? {
        for line in vmstat.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, words[0] == "nr_dirty_threshold" else { continue }
            guard let pages = Int64(words[1]), pages > 0 else { return nil }
            let (bytes, overflow) = pages.multipliedReportingOverflow(by: page)
            return overflow ? nil : bytes
        }
        return nil
    }
}
