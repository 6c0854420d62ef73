import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// Faults inside a running broker: `Tests/Faults/faults.c`, loaded into it with LD_PRELOAD.
final class FaultShim {
    enum Call: String {
        case read, write, sync, rename, truncate
    }

    /// Stands for an error: the process is killed before the call.
    static let kill: Int64 = -1

    private static let callBytes = 16
    private static let pathBytes = 64
    private static let byteCount = callBytes + pathBytes + 5 * 8

    private let path: String
    private let file: any File
    private var clockSeconds: Int64 = 0

    /// Builds the library; a broker that is started with `environment` obeys this plan.
    init(in folder: TemporaryDirectory, _ name: String = "faults") throws {
        let source = "\(Repository.root)/Tests/Faults/faults.c"
        let library = folder.path("faults.so")
        let compiled = try Programs.run(
            "/usr/bin/gcc", ["-O1", "-Wall", "-shared", "-fPIC", "-o", library, source, "-ldl"])
        try #require(compiled.ending == .exited(0), "\(compiled.errors)")
        path = folder.path(name)
        file = try PosixFileSystem().open(path, .createOrOpen)
        environment = ["LD_PRELOAD": library, "FAULTS_PLAN": path]
        try heal()
    }

    let environment: [String: String]

    /// From now on, calls to files whose path contains `path` fail after `skip` went well.
    func fail(
        _ call: Call, _ error: Int64, path: String = "", skip: Int64 = 0, once: Bool = false
    ) throws {
        // Nothing may match a half-written plan.
        try heal()
        try write(Self.words([error, skip, once ? 1 : 0]), at: Self.callBytes + Self.pathBytes)
        try write(Self.text(path, Self.pathBytes), at: Self.callBytes)
        try write(Self.text(call.rawValue, Self.callBytes), at: 0)
    }

    /// No call fails any more; the clock stays.
    func heal() throws {
        try write([UInt8](repeating: 0, count: Self.callBytes), at: 0)
        let rest = [0, 0, 0, clockSeconds, 0]
        try write(Self.words(rest), at: Self.callBytes + Self.pathBytes)
    }

    /// Moves the wall clock this far from the real one.
    func moveClock(seconds: Int64) throws {
        clockSeconds = seconds
        try write(Self.words([seconds]), at: Self.byteCount - 16)
    }

    /// Calls that matched the plan so far.
    func matched() throws -> Int64 {
        var bytes = [UInt8](repeating: 0, count: 8)
        let position = Int64(Self.byteCount - 8)
        _ = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe file.read(into: buffer, at: position)
        }
        return bytes.reversed().reduce(0) { $0 << 8 | Int64($1) }
    }

    private func write(_ bytes: [UInt8], at position: Int) throws {
        try unsafe bytes.span.withUnsafeBytes { bytes throws(SystemError) in
            try unsafe file.write(bytes, at: Int64(position))
        }
    }

    private static func words(_ values: [Int64]) -> [UInt8] {
        values.flatMap { value in
            unsafe withUnsafeBytes(of: value.littleEndian) { unsafe Array($0) }
        }
    }

    private static func text(_ text: String, _ count: Int) -> [UInt8] {
        let bytes = Array(text.utf8.prefix(count - 1))
        return bytes + [UInt8](repeating: 0, count: count - bytes.count)
    }
}

/// A small file system of its own, for as long as this lives. Needs root.
final class SmallDisk {
    static var isPossible: Bool { geteuid() == 0 }

    private let path: String

    init(at path: String, bytes: Int) throws {
        try PosixFileSystem().makeDirectory(path)
        try #require(
            unsafe mount("martlet", path, "tmpfs", 0, "size=\(bytes),mode=700") == 0, "\(errno)")
        self.path = path
    }

    deinit {
        unsafe umount2(path, CInt(MNT_DETACH))
    }
}

/// An ext4 file system larger than the disk below it: what is written beyond fails on its way to the
/// disk, after `pwrite` took it. Needs root.
final class HollowDisk {
    let path: String
    private let below: SmallDisk

    init(in folder: TemporaryDirectory, bytes: Int) throws {
        path = folder.path("hollow")
        let image = folder.path("below") + "/image"
        below = try SmallDisk(at: folder.path("below"), bytes: bytes)
        try PosixFileSystem().makeDirectory(path)
        try PosixFileSystem().open(image, .createNew).truncate(to: Int64(bytes) * 8)
        let steps = [
            ["/sbin/mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-J", "size=4", image],
            ["/bin/mount", "-o", "loop", image, path],
        ]
        for step in steps {
            let run = try Programs.run(step[0], Array(step[1...]))
            try #require(run.ending == .exited(0), "\(step): \(run.errors)")
        }
    }

    deinit {
        unsafe umount2(path, CInt(MNT_DETACH))
    }
}

extension RunningBroker {
    /// Memory that the broker holds.
    func residentBytes() throws -> Int { try kibibytes("VmRSS:") << 10 }

    /// A line of /proc/PID/status.
    func kibibytes(_ name: String) throws -> Int {
        let line = try #require(
            try Self.contents(of: "/proc/\(child.id)/status").split(separator: "\n")
                .first { $0.hasPrefix(name) })
        let number = line.split { $0 == " " || $0 == "\t" }.dropFirst().first
        return try #require(number.flatMap { Int($0) })
    }

    /// The numbers of its threads.
    func threads() throws -> Set<String> {
        Set(try PosixFileSystem().list("/proc/\(child.id)/task"))
    }

    /// How many descriptors the broker has open.
    func descriptorCount() throws -> Int {
        try PosixFileSystem().list("/proc/\(child.id)/fd").count
    }
}
