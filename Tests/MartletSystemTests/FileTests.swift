import Glibc
import MartletSystem
import MartletTestSupport
import Testing

@Suite struct FileTests {
    let files = PosixFileSystem()
    let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory("file")
    }

    @Test func `what was written is read, at any position`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        try file.write([1, 2, 3, 4], at: 0)
        try file.write([9, 9], at: 10)
        #expect(try file.size() == 12)
        #expect(try file.bytes(at: 0, count: 100) == [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 9, 9])
        #expect(try file.bytes(at: 11, count: 4) == [9])
        #expect(try file.bytes(at: 12, count: 4) == [])
        try file.truncate(to: 2)
        #expect(try file.bytes(at: 0, count: 4) == [1, 2])
        try file.sync()
        try file.syncFileSystem()
        file.dropCache(from: 0)
        #expect(try file.bytes(at: 0, count: 4) == [1, 2])
    }

    @Test func `an empty transfer is no call that can fail`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        try file.write([], at: 5)
        #expect(try file.size() == 0)
        #expect(try file.bytes(at: 0, count: 0) == [])
    }

    @Test func `cached bytes are read without the disk, up to the end`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        try file.write([UInt8](repeating: 7, count: 10_000), at: 0)
        var buffer = [UInt8](repeating: 0, count: 20_000)
        let count = try unsafe buffer.withUnsafeMutableBytes {
            try unsafe file.readIfCached(into: $0, at: 100)
        }
        // nil is right too where the file system cannot tell.
        #expect(count == 9_900 || count == nil)
    }

    @Test func `the open modes`() throws {
        let path = folder.path("a")
        #expect(failure { _ = try files.open(path, .readOnly) }?.isNotFound == true)
        #expect(failure { _ = try files.open(path, .readWrite) }?.isNotFound == true)
        _ = try files.open(path, .createNew)
        #expect(failure { _ = try files.open(path, .createNew) }?.isAlreadyThere == true)
        try files.open(path, .createOrOpen).write([1], at: 0)
        let reader = try files.open(path, .readOnly)
        #expect(try reader.bytes(at: 0, count: 2) == [1])
        #expect(failure { try reader.write([1], at: 0) }?.code == EBADF)
    }

    @Test func `files are private and close on exec`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        let number = try #require(file.descriptor)
        var status = stat()
        #expect(unsafe fstat(number, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
        try files.makeDirectory(folder.path("d"))
        #expect(unsafe stat(folder.path("d"), &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
    }

    @Test func `close is idempotent and final`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        try file.close()
        try file.close()
        #expect(file.descriptor == nil)
        #expect(failure { _ = try file.size() }?.code == EBADF)
        #expect(failure { try file.sync() }?.code == EBADF)
        #expect(failure { try file.write([1], at: 0) }?.code == EBADF)
    }

    @Test func `dropping the last reference closes`() throws {
        let number: CInt
        do {
            let file = try files.open(folder.path("a"), .createNew)
            number = try #require(file.descriptor)
        }
        // Another test may have taken the number: then it is another file.
        var status = stat()
        var ours = stat()
        #expect(unsafe stat(folder.path("a"), &ours) == 0)
        let isOpen = unsafe fstat(number, &status) == 0
        #expect(!isOpen || status.st_ino != ours.st_ino || status.st_dev != ours.st_dev)
    }

    @Test func `names: list, rename, link, remove`() throws {
        try files.makeDirectory(folder.path("d"))
        for name in ["b", "a", "c"] {
            try files.open(folder.path("d/\(name)"), .createNew).write(Array(name.utf8), at: 0)
        }
        #expect(try files.list(folder.path("d")) == ["a", "b", "c"])
        try files.rename(folder.path("d/a"), to: folder.path("d/b"))
        try files.hardLink(folder.path("d/b"), to: folder.path("d/l"))
        try files.syncDirectory(folder.path("d"))
        #expect(try files.list(folder.path("d")) == ["b", "c", "l"])
        #expect(try files.open(folder.path("d/l"), .readOnly).bytes(at: 0, count: 9) == [97])
        #expect(failure { try files.removeDirectory(folder.path("d")) }?.code == ENOTEMPTY)
        #expect(failure { try files.removeFile(folder.path("d/a")) }?.isNotFound == true)
        for name in ["b", "c", "l"] { try files.removeFile(folder.path("d/\(name)")) }
        try files.removeDirectory(folder.path("d"))
        #expect(failure { _ = try files.list(folder.path("d")) }?.isNotFound == true)
        #expect(failure { try files.syncDirectory(folder.path("d")) }?.isNotFound == true)
    }

    @Test func `status tells kinds apart and nothing from an error`() throws {
        try files.open(folder.path("a"), .createNew).write([1, 2], at: 0)
        let file = try #require(try files.status(folder.path("a")))
        #expect(file.kind == .file)
        #expect(file.size == 2)
        #expect(try files.status(folder.path)?.kind == .directory)
        #expect(try files.status("/dev/null")?.kind == .other)
        #expect(try files.status(folder.path("none")) == nil)
        #expect(try files.status(folder.path("a/below-a-file")) == nil)
        let long = String(repeating: "x", count: 300)
        #expect(failure { _ = try files.status(folder.path(long)) }?.code == ENAMETOOLONG)
    }

    @Test func `space is plausible`() throws {
        let space = try files.space(at: folder.path)
        #expect(space.total > 0)
        #expect((0...space.total).contains(space.available))
    }

    @Test func `a lock has one holder`() throws {
        let path = folder.path("lock")
        let first = try #require(try files.lock(path))
        #expect(try files.lock(path) == nil)
        first.release()
        first.release()
        let second = try #require(try files.lock(path))
        #expect(try files.lock(path) == nil)
        second.release()
        #expect(try files.lock(path) != nil)
    }

    @Test func `another process sees the lock, and its end frees it`() throws {
        let path = folder.path("lock")
        let child = try ChildProcess(
            "/usr/bin/flock", ["-x", "-F", path, "sh", "-c", "echo held; exec cat"]
        )
        #expect(child.waitForOutput("held"))
        #expect(try files.lock(path) == nil)
        child.kill()
        #expect(child.wait() == .killed(signal: SIGKILL))
        #expect(try files.lock(path) != nil)
    }

    @Test func `a full disk is told as such, also in the middle of a write`() throws {
        // /dev/full takes nothing.
        let full = try files.open("/dev/full", .readWrite)
        #expect(failure { try full.write([1, 2, 3], at: 0) }?.isNoSpace == true)
    }

    @Test func `many threads write and read their own parts of one file`() throws {
        let file = try files.open(folder.path("a"), .createNew)
        let done = Latch(8)
        for part in 0..<8 {
            SerialQueue(label: "part").execute {
                let byte = UInt8(part + 1)
                for step in 0..<50 {
                    let position = Int64(part * 50 + step) * 512
                    let written = [UInt8](repeating: byte, count: 512)
                    let isSame = failure {
                        try file.write(written, at: position)
                        guard try file.bytes(at: position, count: 512) == written else {
                            throw SystemError(call: "compare", code: EIO)
                        }
                    }
                    #expect(isSame == nil)
                }
                done.arrive()
            }
        }
        #expect(done.wait())
        #expect(try file.size() == 8 * 50 * 512)
    }
}
