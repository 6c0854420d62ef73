import Glibc
import MartletSystem

/// Where the programs of this build lie: in the folder of the test bundle, or in
/// `MARTLET_TEST_PROGRAMS`.
package enum BuiltPrograms {
    package static let folder: String = {
        if let chosen = CurrentProcess.environment["MARTLET_TEST_PROGRAMS"] { return chosen }
        var bytes = [CChar](repeating: 0, count: 4_096)
        let count = unsafe readlink("/proc/self/exe", &bytes, bytes.count - 1)
        let path = String(decoding: bytes.prefix(max(0, count)).map(UInt8.init), as: UTF8.self)
        return path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            .joined(separator: "/")
    }()

    /// The environment of this test without what would configure a broker or a client. A bug that is
    /// planted in the test is one of the programs, too.
    package static var environment: [String: String] {
        CurrentProcess.environment.filter {
            !$0.key.hasPrefix("MARTLET_") || $0.key == "MARTLET_PLANT"
        }
    }
}
