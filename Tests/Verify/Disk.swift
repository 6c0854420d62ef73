import Glibc
import MartletSystem
import MartletTestSupport

/// Where the data lies, and how it is taken away.
protocol Disk {
    var data: String { get }
    /// Called right before the broker with this process id is killed.
    func cut(broker: pid_t) throws
    /// Called when it is dead.
    func restore() throws
    func remove()
}

/// A plain folder: `kill -9` leaves the page cache.
struct PlainDisk: Disk {
    let data: String
    func cut(broker: pid_t) throws {}
    func restore() throws {}
    func remove() {}
}

/// A file system in an image, mounted by loop device. `EXT4_IOC_SHUTDOWN`, which XFS knows by the same
/// number, without a log flush drops everything that was not synced, and the broker does nothing more,
/// as in a power cut.
struct LoopDisk: Disk {
    enum Kind {
        case ext4
        case xfs
    }

    let image: String
    let mount: String
    let tool: String

    init(_ kind: Kind, work: String, tool: String) throws {
        image = "\(work)/disk.img"
        mount = "\(work)/disk"
        self.tool = tool
        try Self.run("/bin/mkdir", ["-p", mount])
        try Self.run("/usr/bin/truncate", ["-s", "4G", image])
        switch kind {
        case .ext4: try Self.run("/sbin/mkfs.ext4", ["-q", "-F", image])
        case .xfs: try Self.run("/sbin/mkfs.xfs", ["-q", "-f", image])
        }
        try attach()
    }

    var data: String { "\(mount)/data" }

    func cut(broker: pid_t) throws { try Self.run(tool, [mount, "\(broker)"]) }

    func restore() throws {
        try Self.run("/bin/umount", [mount])
        try attach()
    }

    func remove() {
        try? Self.run("/bin/umount", [mount])
    }

    private func attach() throws {
        try Self.run("/bin/mount", ["-o", "loop", image, mount])
    }

    private static func run(_ program: String, _ arguments: [String]) throws {
        let child = try ChildProcess(program, arguments)
        guard child.wait(seconds: 120) == .exited(0) else {
            throw VerifyError(
                "\(program) \(arguments.joined(separator: " ")): \(child.errorOutput)")
        }
    }
}
