import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// The short form of the campaigns; `scripts/campaign` has the long ones.
@Suite(.serialized) struct CampaignTests {
    @Test func `F-01 kill -9 under load loses nothing and repeats nothing`() throws {
        try Self.run("crash-loop", kills: 30)
    }

    @Test func `F-03 a power cut under load loses nothing and repeats nothing`() throws {
        guard geteuid() == 0, Self.hasLoopDevices else {
            Console.skipped("power-cut", "needs root and loop devices")
            return
        }
        let compiled = try Programs.run(
            "/usr/bin/gcc", ["-O1", "-o", Programs.powerCut, Programs.powerCutSource])
        try #require(compiled.ending == .exited(0), "\(compiled.errors)")
        try Self.run("power-cut", kills: 10)
        guard Self.knowsXFS else {
            Console.skipped("power-cut-xfs", "the kernel has no XFS")
            return
        }
        try Self.run("power-cut-xfs", kills: 5)
    }

    @Test func `members killed over and over lose nothing, or handle nothing twice`() throws {
        try Self.run("member-kills", kills: 50)
    }

    /// And each of the bugs that are planted is found in them.
    @Test func `histories of groups under kills, pauses and storms hold every invariant`() throws {
        try Self.run("history", ["--seconds", "15", "--controls", "1"])
    }

    /// Also without a kill: then nothing comes twice.
    @Test func `a replay of thousands of records brings each of them and no other`() throws {
        try Self.run("replay", ["--events", "20000", "--kills", "2"])
        try Self.run("replay", ["--events", "20000", "--kills", "0"])
    }

    private static var knowsXFS: Bool {
        guard let systems = try? Programs.run("/bin/cat", ["/proc/filesystems"]) else {
            return false
        }
        return systems.output.split(separator: "\n").contains("\txfs")
    }

    private static var hasLoopDevices: Bool { unsafe access("/dev/loop-control", F_OK) == 0 }

    private static func run(_ fault: String, kills: Int) throws {
        try run(fault, ["--kills", "\(kills)"])
    }

    private static func run(_ fault: String, _ arguments: [String]) throws {
        let seed = UInt64.random(in: 0..<1_000_000)
        let finished = try Programs.run(
            Programs.verify,
            [fault] + arguments + [
                "--seed", "\(seed)", "--bin", Programs.folder,
                "--work", "/tmp/martlet-\(fault)-\(getpid())",
            ], seconds: 900)
        Console.line(finished.output)
        #expect(finished.ending == .exited(0), "seed \(seed): \(finished.output)\(finished.errors)")
    }
}

/// Words of the tests beside the runner's own.
enum Console {
    static func line(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe write(1, $0.baseAddress, $0.count) }
    }

    static func skipped(_ name: String, _ reason: String) {
        line("SKIPPED \(name): \(reason)")
    }
}
