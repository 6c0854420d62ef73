import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// Who may use a data directory.
@Suite struct DataDirectoryTests {
    @Test func `row 17: a second broker on a data directory ends with a message`() throws {
        let folder = try TemporaryDirectory("lock")
        let broker = try RunningBroker(in: folder)
        let second = try Programs.run(
            Programs.daemon,
            [
                "--data", folder.path("data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            ])
        #expect(second.ending == .exited(74))
        #expect(second.errors.contains("is in use by another martletd"))
        #expect(try broker.get("/readyz").body == "ready\n", "the first one goes on")
        #expect(broker.end() == .exited(0))

        // The lock goes with its process, however that ends.
        #expect(try RunningBroker(in: folder).end(SIGKILL) == .killed(signal: SIGKILL))
        #expect(try RunningBroker(in: folder).end() == .exited(0))
    }

    @Test func `who makes a data directory says so, and where`() throws {
        let folder = try TemporaryDirectory("made")
        for isFirst in [true, false] {
            let broker = try RunningBroker(in: folder)
            let line = broker.log.split(separator: "\n").first {
                $0.contains("DATA_DIRECTORY_MADE")
            }
            #expect((line?.contains("path=\(folder.path("data"))") ?? false) == isFirst)
            #expect(broker.end() == .exited(0))
        }
    }

    @Test func `row 21: a newer format is refused and nothing is touched`() throws {
        let folder = try TemporaryDirectory("format")
        #expect(try RunningBroker(in: folder).end() == .exited(0))
        let version = folder.path("data/format.version")
        let original = try RunningBroker.contents(of: version)
        #expect(original == "martlet-data 1\n")
        try RunningBroker.write("martlet-data 2\n", to: version)
        let before = try tree(folder.path("data"))

        let run = try Programs.run(
            Programs.daemon,
            [
                "--data", folder.path("data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            ])
        #expect(run.ending == .exited(74))
        #expect(run.errors.contains("martlet-data 2"))
        #expect(run.errors.contains("martlet-data 1"))
        #expect(try tree(folder.path("data")) == before)

        try RunningBroker.write(original, to: version)
        #expect(try RunningBroker(in: folder).end() == .exited(0))
    }

    @Test func `a folder of something else is refused`() throws {
        let folder = try TemporaryDirectory("stranger")
        try PosixFileSystem().makeDirectory(folder.path("data"))
        try RunningBroker.write("precious", to: folder.path("data/letter.txt"))
        let run = try Programs.run(
            Programs.daemon,
            [
                "--data", folder.path("data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            ])
        #expect(run.ending == .exited(74))
        #expect(run.errors.contains("letter.txt"))
        #expect(try RunningBroker.contents(of: folder.path("data/letter.txt")) == "precious")
    }

    @Test func `files are for their user alone`() throws {
        let folder = try TemporaryDirectory("modes")
        let broker = try RunningBroker(in: folder)
        for (path, mode) in try tree(folder.path("data")) {
            #expect(mode & 0o077 == 0, "\(path) has mode \(String(mode, radix: 8))")
        }
        #expect(broker.end() == .exited(0))
    }

    /// Every path below with its mode; sizes are part of the path.
    private func tree(_ path: String) throws -> [String: UInt32] {
        var result: [String: UInt32] = [:]
        let files = PosixFileSystem()
        for name in try files.list(path) {
            let entry = "\(path)/\(name)"
            var status = stat()
            try #require(unsafe lstat(entry, &status) == 0)
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            result[isDirectory ? entry : "\(entry) \(status.st_size)"] = UInt32(
                status.st_mode & 0o777)
            if isDirectory { result.merge(try tree(entry)) { $1 } }
        }
        return result
    }
}
