import Glibc
import MartletFormat
import MartletSystem
import Testing

@testable import MartletStorage

@Suite struct BackupTests {
    @Test func `a backup of a running broker holds all that was acknowledged before it`() throws {
        let folder = TemporaryFolder()
        let data = folder.path + "/data"
        let copy = folder.path + "/backup"
        let restored = folder.path + "/restored"
        let filler = String(repeating: "x", count: 2000)
        let harness = try StorageHarness(data, PosixFileSystem())
        let topic = try harness.topic(
            "t", partitions: 2, settings: ["segment.bytes": "65536"])
        var expected: [[String]] = [[], []]
        for round in 0..<300 {
            let index = round % 2
            let log = try #require(topic.partition(Int32(index)))
            let value = "\(round)-\(filler)"
            guard case .appended = try log.appendNow(batch([value])) else {
                Issue.record("not appended")
                return
            }
            expected[index].append(value)
        }
        let report = try Backup(from: data, to: copy, PosixFileSystem(), links: true).run()
        #expect(report.topics == 1)
        #expect(report.partitions == 2)
        #expect(report.linkedBytes > report.copiedBytes)

        // The broker goes on; the copy does not change.
        for partition in topic.partitions { _ = try partition.appendNow(batch(["later"])) }
        _ = try Backup(from: copy, to: restored, PosixFileSystem(), links: false).run()
        for path in [copy, restored] {
            let other = try StorageHarness(path, PosixFileSystem())
            let again = try #require(other.engine.topic(named: "t"))
            for index in 0..<2 {
                let log = try #require(again.partition(Int32(index)))
                #expect(try log.values().map(\.1) == expected[index])
                guard case .appended(let receipt) = try log.appendNow(batch(["new"])) else {
                    Issue.record("the copy takes no records")
                    return
                }
                #expect(receipt.baseOffset == 150)
            }
        }
        let original = try #require(topic.partition(0))
        #expect(try original.values().map(\.1) == expected[0] + ["later"])
    }

    /// A record in a topic; then, in others, how many it has.
    private struct Followed: Sendable {
        let leader: PartitionLog
        let followers: [PartitionLog]

        func step() throws {
            _ = try leader.appendNow(batch(["record"]))
            leader.flush()
            for follower in followers {
                _ = try follower.appendNow(batch(["\(leader.view.logEnd)"]))
                follower.flush()
            }
        }
    }

    @Test func `no topic of a backup tells of what another one lacks`() throws {
        let folder = TemporaryFolder()
        let (data, copy) = (folder.path + "/data", folder.path + "/copy")
        let harness = try StorageHarness(data, PosixFileSystem())
        // Whatever the order in which they are copied, some come after the one that they follow.
        let names = (0..<9).map { $0 == 4 ? "leader" : "follower-\($0)" }
        let logs = try names.enumerated().map { number, name in
            let id = TopicID(high: 1, low: UInt64(number * 7 % 9 + 1))
            return try #require(try harness.topic(name, id: id).partition(0))
        }
        let followed = Followed(
            leader: logs[4], followers: logs.enumerated().filter { $0.offset != 4 }.map(\.element))
        for _ in 0..<20 { try followed.step() }
        // The broker goes on before each file that is opened for the copy.
        let disk = HookedFileSystem()
        disk.set { call, path in
            guard call == .open, !path.contains("/marks-") else { return 0 }
            do { try followed.step() } catch { Issue.record("\(error)") }
            return 0
        }
        _ = try Backup(from: data, to: copy, disk, links: false).run()
        let copied = try StorageHarness(copy, PosixFileSystem())
        let leader = try #require(try copied.topic("leader").partition(0))
        #expect(leader.view.logEnd >= 20 && leader.view.logEnd < followed.leader.view.logEnd)
        for name in names where name != "leader" {
            let log = try #require(try copied.topic(name).partition(0))
            let told = try #require(try log.values().last.flatMap { Int64($0.1) })
            #expect(told <= leader.view.logEnd, "\(name) tells of \(told)")
        }
    }

    @Test func `a target that is not empty is refused`() throws {
        let folder = TemporaryFolder()
        let harness = try StorageHarness(folder.path + "/data", PosixFileSystem())
        _ = try harness.topic("t")
        #expect(throws: StorageError.self) {
            try Backup(
                from: folder.path + "/data", to: folder.path, PosixFileSystem(), links: true
            ).run()
        }
    }

    @Test func `the name of a backup is on disk when it is done`() throws {
        let folder = TemporaryFolder()
        let disk = InterruptingFileSystem()
        let harness = try StorageHarness(folder.path + "/data", disk)
        _ = try harness.topic("t")
        disk.interrupt(.syncDirectory, folder.path)
        _ = try Backup(
            from: folder.path + "/data", to: folder.path + "/copy", disk, links: true
        ).run()
        #expect(!disk.isWaiting, "its parent is synced")
        try harness.engine.close()
    }

    @Test(arguments: ["/topic.meta.tmp", "/format.version.tmp"])
    func `a copy that was cut short is not taken for a data directory`(_ place: String) throws {
        let folder = TemporaryFolder()
        let copy = folder.path + "/copy"
        let disk = InterruptingFileSystem()
        let harness = try StorageHarness(folder.path + "/data", disk)
        _ = try harness.topic("t")
        disk.interrupt(.open, place, errno: EIO)
        #expect(throws: StorageError.self) {
            try Backup(from: folder.path + "/data", to: copy, disk, links: false).run()
        }
        // The second try meets what the first one left behind.
        for _ in 0..<2 {
            #expect(throws: StorageError.self) { try StorageHarness(copy, PosixFileSystem()) }
        }
        try harness.engine.close()
    }
}
