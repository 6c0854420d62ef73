import Glibc
import MartletSystem
import MartletTestSupport
import Testing

@Suite struct ProcessTests {
    @Test func `the kernel's limit of dirty bytes is read`() {
        #expect(DirtyLimit.bytes("nr_dirty 7\nnr_dirty_threshold 3\nx 1\n", page: 4_096) == 12_288)
        for text in [
            "", "nr_dirty_threshold\n", "nr_dirty_threshold -1\n", "nr_dirty_threshold x\n",
            "nr_dirty_threshold \(Int64.max)\n",
        ] {
            #expect(DirtyLimit.bytes(text, page: 4_096) == nil, "\(text)")
        }
        #expect(DirtyLimit.bytes ?? 1 > 0)
    }

    @Test func `facts of the process are plausible`() throws {
        #expect(CurrentProcess.id == getpid())
        #expect(try #require(CurrentProcess.residentBytes) > 1_000_000)
        #expect(try #require(CurrentProcess.openDescriptorCount) >= 3)
        #expect(try #require(CurrentProcess.threadCount) >= 1)
        #expect(CurrentProcess.processorNanoseconds > 0)
        #expect(CurrentProcess.processorCount >= 1)
        #expect(CurrentProcess.machineMemoryBytes > 1_000_000)
        #expect(!CurrentProcess.hostName.isEmpty)
        #expect(CurrentProcess.environment["PATH"] != nil)
    }

    @Test func `the descriptor limit is raised, never lowered`() throws {
        let before = try ProcessLimits.current()
        #expect(try ProcessLimits.raiseDescriptors(to: 1) == before)
        let after = try ProcessLimits.raiseDescriptors(to: .max)
        #expect(after.descriptors == after.descriptorsMax)
        #expect(after.descriptors >= before.descriptors)
    }

    @Test func `random bytes differ`() throws {
        #expect(try SecureRandom.bytes(32) != SecureRandom.bytes(32))
        #expect(try SecureRandom.bytes(0) == [])
        #expect(try SecureRandom.bytes(1000).contains { $0 != 0 })
        #expect(try SecureRandom.uint64() != SecureRandom.uint64())
    }

    @Test(arguments: SignalSource.Kind.allCases)
    func `a signal reaches its handler and nothing else`(kind: SignalSource.Kind) {
        let queue = SerialQueue(label: "signals")
        let arrived = Latch()
        let source = SignalSource(kind, queue: queue) {
            #expect(queue.isCurrent)
            arrived.arrive()
        }
        #expect(kill(getpid(), kind.number) == 0)
        #expect(arrived.wait())
        withExtendedLifetime(source) {}
    }

    @Test func `resident pages are told from holes`() throws {
        let folder = try TemporaryDirectory("map")
        let file = try PosixFileSystem().open(folder.path("a"), .createNew)
        try file.truncate(to: 8 << 20)
        try file.write([UInt8](repeating: 1, count: 3 << 20), at: 0)
        let number = try #require(file.descriptor)
        let map = try MappedFile(descriptor: number, length: 16 << 20)
        #expect(map.isResident(0..<(3 << 20)))
        #expect(map.isResident(5..<6))
        #expect(!map.isResident((3 << 20)..<(3 << 20) + 1))
        #expect(!map.isResident(0..<(4 << 20)))
        // Behind the end of the file, and outside the mapping.
        #expect(!map.isResident((9 << 20)..<(10 << 20)))
        #expect(!map.isResident(0..<(17 << 20)))
        #expect(!map.isResident(-1..<1))
        #expect(map.isResident(7..<7))
        // A shorter file below the mapping is no danger.
        try file.truncate(to: 4096)
        #expect(!map.isResident(0..<(3 << 20)))
        #expect(map.isResident(0..<4096))
    }

    @Test func `a mapping of nothing is an error`() {
        #expect(
            failure {
                _ = try MappedFile(descriptor: -1, length: 4096)
            }?.code == EBADF)
    }

    @Test func `child: output, input, status`() throws {
        let child = try ChildProcess(
            "/bin/sh", ["-c", "echo out; echo err >&2; read line; echo got $line $X; exit 7"],
            environment: ["X": "x y"]
        )
        #expect(child.waitForOutput("out\n"))
        #expect(child.waitForErrorOutput("err\n"))
        #expect(child.ending == nil)
        try child.write("hello\n")
        #expect(child.wait() == .exited(7))
        #expect(child.output == "out\ngot hello x y\n")
        #expect(child.errorOutput == "err\n")
        #expect(!child.waitForOutput("never"))
        child.kill()
    }

    @Test func `child: kill, deadline, and what is not there`() throws {
        let child = try ChildProcess("/bin/cat")
        #expect(child.wait(seconds: 0) == nil)
        child.kill(SIGTERM)
        #expect(child.wait() == .killed(signal: SIGTERM))
        #expect(
            failure {
                _ = try ChildProcess("/does/not/exist")
            }?.isNotFound == true)
    }

    @Test func `a standard stream without terminal says so`() throws {
        #expect(StandardStream.output.terminalWidth.map { $0 > 0 } ?? true)
        try StandardStream.error.write([UInt8]())
    }
}
