import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// A log goes on above what it has, for somebody knows of records there.
@Suite struct PassOverTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory("pass-over") }

    private func log(_ harness: StorageHarness) throws -> (Topic, PartitionLog) {
        let topic = try harness.topic("t")
        return (topic, try #require(topic.partition(0)))
    }

    private func append(_ value: String, to log: PartitionLog, at offset: Int64) throws {
        guard case .appended(let receipt) = try log.appendNow(batch([value])) else {
            Issue.record("not appended")
            return
        }
        #expect(receipt.baseOffset == offset)
        log.flush()
    }

    @Test(arguments: [true, false])
    func `offsets that are passed over are never given, over any start`(stops: Bool) throws {
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let (topic, log) = try log(harness)
            try append("first", to: log, at: 0)
            #expect(try harness.engine.passOver(topic, below: [0: 7, 4: 9]) == [0: 1..<7])
            #expect(try harness.engine.passOver(topic, below: [0: 7]) == [:])
            #expect(log.view.gaps == [1..<7] && log.view.logEnd == 7)
            #expect(log.view.highWatermark == 7 && !log.isReadOnly)
            if stops { try harness.engine.close() }
        }
        for round in 0..<2 {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let (_, log) = try log(harness)
            #expect(log.view.gaps == [1..<7])
            if round == 0 { try append("second", to: log, at: 7) }
            #expect(try log.values().map(\.1) == ["first", "second"])
            #expect(!log.hasOpenDamage && log.view.logEnd == 8)
            if stops { try harness.engine.close() }
        }
    }

    @Test func `without space for it nothing is appended until there is some`() throws {
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let (topic, log) = try log(harness)
        try append("first", to: log, at: 0)
        disk.set { call, path in call == .open && path.contains("topic.meta") ? ENOSPC : 0 }
        #expect(try harness.engine.passOver(topic, below: [0: 7]) == [0: 1..<7])
        guard case .refused(.diskFull) = try log.appendNow(batch(["too early"])) else {
            Issue.record("appended behind what is not on disk")
            return
        }
        disk.set(nil)
        harness.engine.tick()
        try append("second", to: log, at: 7)
        #expect(topic.metadata.gaps[0] == [1..<7])
    }
}
