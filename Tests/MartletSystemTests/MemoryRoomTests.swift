import Glibc
import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletSystem

@Suite struct MemoryRoomTests {
    private static let mebibyte: Int64 = 1 << 20

    @Test func `a group is one of those around it`() {
        #expect(
            MemoryRoom.limitFiles(in: "0::/a.slice/b\n") == [
                "/sys/fs/cgroup/a.slice/b/memory.max", "/sys/fs/cgroup/a.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ])
        #expect(
            MemoryRoom.limitFiles(in: "5:pids:/x\n4:cpu,memory:/x\n0::/\n") == [
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max",
            ])
        #expect(MemoryRoom.limitFiles(in: "5:pids:/x\n1:name=memory:/x\nmemory\n").isEmpty)
        #expect(MemoryRoom.limitFiles(in: "").isEmpty)
    }

    @Test func `limits and sizes are read, and nothing is made of what is none`() {
        #expect(MemoryRoom.parseLimit("268435456\n") == 256 * Self.mebibyte)
        #expect(MemoryRoom.parseLimit("0\n") == 0)
        for text in ["max\n", "", "\n", "12 kB", "99999999999999999999\n"] {
            #expect(MemoryRoom.parseLimit(text) == nil, "\(text)")
        }
        let status = "Name:\tmartletd\nVmSize:\t  2048 kB\nVmData:\t 512 kB\nThreads:\t9\n"
        #expect(MemoryRoom.parseSize("VmSize:", in: status) == 2 * Self.mebibyte)
        #expect(MemoryRoom.parseSize("RssAnon:", in: status) == nil)
        #expect(MemoryRoom.parseSize("Name:", in: status) == nil)
    }

    @Test func `the least limit of the group and those around it counts`() throws {
        let root = try TemporaryDirectory("room")
        try write(root, "proc/self/status", "RssAnon:\t 10240 kB\nVmSize:\t 999999 kB\n")
        try write(root, "proc/self/cgroup", "4:memory:/one\n0::/outer/inner\n")
        try write(root, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
        #expect(MemoryRoom.current(root: root.path).limit != "control group")
        try write(root, "sys/fs/cgroup/outer/memory.max", "\(100 * Self.mebibyte)\n")
        #expect(MemoryRoom.current(root: root.path) == room(90))
        try write(root, "sys/fs/cgroup/outer/inner/memory.max", "\(60 * Self.mebibyte)\n")
        #expect(MemoryRoom.current(root: root.path) == room(50))
        try write(root, "sys/fs/cgroup/memory/one/memory.limit_in_bytes", "9223372036854771712\n")
        #expect(MemoryRoom.current(root: root.path) == room(50))
        try write(
            root, "sys/fs/cgroup/memory/one/memory.limit_in_bytes", "\(40 * Self.mebibyte)\n")
        #expect(MemoryRoom.current(root: root.path) == room(30))
        // Less than it has.
        try write(root, "sys/fs/cgroup/outer/memory.max", "4096\n")
        #expect(MemoryRoom.current(root: root.path) == room(0))
    }

    private func room(_ mebibytes: Int64) -> MemoryRoom {
        MemoryRoom(bytes: mebibytes * Self.mebibyte, limit: "control group")
    }

    private func write(_ root: TemporaryDirectory, _ path: String, _ text: String) throws {
        let files = PosixFileSystem()
        var folder = root.path
        for name in path.split(separator: "/").dropLast() {
            folder += "/\(name)"
            if try files.status(folder) == nil { try files.makeDirectory(folder) }
        }
        let file = try files.open(root.path(path), .createOrOpen)
        try file.truncate(to: 0)
        try file.write(Array(text.utf8), at: 0)
        try file.close()
    }

    @Test func `large blocks that are freed go back to the system`() async {
        await #expect(processExitsWith: .success) {
            MemoryRoom.prepare()
            let before = try #require(CurrentProcess.residentBytes)
            for bytes in [8 << 20, 4 << 20, 256 << 10] {
                var blocks = (0..<(64 << 20) / bytes).map { _ in ByteSlab(capacity: bytes) }
                for block in blocks { block.appendZeros(bytes) }
                let held = try #require(CurrentProcess.residentBytes)
                try #require(held - before >= 64 << 20)
                // What was taken last would keep a heap from shrinking.
                let last = ByteSlab(capacity: 64 << 10)
                blocks = []
                let after = try #require(CurrentProcess.residentBytes)
                try #require(after - before < 16 << 20, "\(bytes): \((after - before) >> 20) MiB")
                withExtendedLifetime(last) {}
            }
        }
    }

    @Test func `without limits it is the machine, with them the tightest`() async {
        await #expect(processExitsWith: .success) {
            for (resource, size, name) in [
                (RLIMIT_DATA, "VmData:", "data size"), (RLIMIT_AS, "VmSize:", "address space"),
            ] {
                try #require(MemoryRoom.current().limit != name)
                let status = try #require(CurrentProcess.readSmallFile("/proc/self/status"))
                let used = try #require(MemoryRoom.parseSize(size, in: status))
                let number = __rlimit_resource_t(resource.rawValue)
                var before = rlimit()
                try #require(unsafe getrlimit(number, &before) == 0)
                var limit = before
                limit.rlim_cur = rlim_t(used + 1 << 30)
                try #require(unsafe setrlimit(number, &limit) == 0)
                let room = MemoryRoom.current()
                try #require(room.limit == name)
                try #require(room.bytes > 0 && room.bytes <= 1 << 30)
                // The next one is to be the tightest.
                try #require(unsafe setrlimit(number, &before) == 0)
            }
        }
    }
}
