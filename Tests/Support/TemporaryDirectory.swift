import Glibc
import MartletSystem

/// A new empty directory that goes away, with everything in it, with its last reference.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init(_ name: String = "test") throws {
        let base = CurrentProcess.environment["TMPDIR"] ?? "/tmp"
        let suffix = String(try SecureRandom.uint64(), radix: 36)
        path = "\(base)/martlet-\(name)-\(suffix)"
        try PosixFileSystem().makeDirectory(path)
    }

    deinit {
        Self.removeTree(path)
    }

    /// Path of something in it.
    package func path(_ name: String) -> String {
        "\(path)/\(name)"
    }

    /// Removes what it can: what is left over harms nobody but the disk.
    package static func removeTree(_ path: String) {
        let files = PosixFileSystem()
        // A link is removed, never followed: only what cannot be unlinked may be a directory.
        if unsafe unlink(path) == 0 || errno == ENOENT { return }
        do {
            for name in try files.list(path) { removeTree("\(path)/\(name)") }
            try files.removeDirectory(path)
        } catch {
            // Another thread of the test may still write here.
        }
    }
}
