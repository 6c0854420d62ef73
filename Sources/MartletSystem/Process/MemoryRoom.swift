import CMartletShim
import Glibc

/// How much memory the process may still take, and what sets the limit.
package struct MemoryRoom: Equatable, Sendable {
    package let bytes: Int64
    /// For people.
    package let limit: String

    package init(bytes: Int64, limit: String) {
        self.bytes = bytes
        self.limit = limit
    }

    /// By the tightest of the limits: the machine, the control group and those around it, the
    /// address space (`ulimit -v`), the data size (`ulimit -d`).
    ///
    /// - Parameter root: the folder in which /proc and /sys are.
    package static func current(root: String = "") -> MemoryRoom {
        let status = text(root + "/proc/self/status")
        func left(of limit: Int64?, after used: String, _ name: String) -> MemoryRoom? {
            guard let limit else { return nil }
            let used = parseSize(used, in: status) ?? 0
            return MemoryRoom(bytes: max(0, limit - used), limit: name)
        }
        // What a group holds for files goes back when it is wanted, so it is not counted.
        let group = limitFiles(in: text(root + "/proc/self/cgroup"))
            .compactMap { parseLimit(text(root + $0)) }.min()
        let rooms = [
            left(of: group, after: "RssAnon:", "control group"),
            left(of: resourceLimit(RLIMIT_AS), after: "VmSize:", "address space"),
            left(of: resourceLimit(RLIMIT_DATA), after: "VmData:", "data size"),
        ]
        let machine = MemoryRoom(bytes: CurrentProcess.machineMemoryBytes, limit: "machine")
        return rooms.reduce(machine) { least, room in
            guard let room, room.bytes < least.bytes else { return least }
            return room
        }
    }

    /// Has freed memory go back to the system at once; the allocator would keep as much as was ever
    /// held, several times over. Where addresses are limited, takes fewer of them: all threads share
    /// one heap (each further one reserves 64 MiB), and stacks are smaller. Call it before there are
    /// threads.
    package static func prepare() {
        martlet_give_back_early()
        guard resourceLimit(RLIMIT_AS) != nil || resourceLimit(RLIMIT_DATA) != nil else { return }
        martlet_save_addresses(2 << 20)
    }

    // MARK: - What the system tells

    /// Where the limits of the groups of /proc/self/cgroup and of those around them stand, innermost
    /// first: of version 2, and of version 1 where that has the memory (cgroups(7)).
    static func limitFiles(in text: String) -> [String] {
        text.split(separator: "\n").flatMap { line -> [String] in
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { return [] }
            if fields[0] == "0", fields[1].isEmpty {
                return folders(fields[2]).map { "/sys/fs/cgroup\($0)/memory.max" }
            }
            guard fields[1].split(separator: ",").contains("memory") else { return [] }
            return folders(fields[2]).map { "/sys/fs/cgroup/memory\($0)/memory.limit_in_bytes" }
        }
    }

    private static func folders(_ path: Substring) -> [String] {
        let names = path.split(separator: "/")
        return (0...names.count).reversed().map { count in
            names.prefix(count).map { "/" + $0 }.joined()
        }
    }

    /// A limit of a control group; nil when it sets none ("max").
    static func parseLimit(_ text: String) -> Int64? {
        Int64(text.prefix { $0 != "\n" })
    }

    /// A size of /proc/self/status, which gives it in kB.
    static func parseSize(_ key: String, in status: String) -> Int64? {
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(key) })
        else { return nil }
        return Int64(line.filter(\.isNumber)).map { $0 << 10 }
    }

    private static func text(_ path: String) -> String {
        CurrentProcess.readSmallFile(path) ?? ""
    }

    private static func resourceLimit(_ resource: __rlimit_resource) -> Int64? {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0 else {
            return nil
        }
        // RLIM_INFINITY does not fit.
        return Int64(exactly: limit.rlim_cur)
    }
}
