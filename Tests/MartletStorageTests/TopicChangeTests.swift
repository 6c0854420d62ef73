import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Topics that could not be made, read or told from each other.
@Suite struct TopicChangeTests {
    private static let second = TopicID(high: 2, low: 2)

    /// Refuses to open the log of one partition, as with too many open files.
    private static func refuse(_ partition: Int32, _ disk: HookedFileSystem) {
        let ending = "/\(partition)/\(LogFileNames.log(0, generation: 0))"
        disk.set { call, path in call == .open && path.hasSuffix(ending) ? EMFILE : 0 }
    }

    @Test func `a topic that was refused is not there after a restart`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk)
            Self.refuse(1, disk)
            // The id that would win in the order of directories.
            #expect(throws: StorageError.self) { try harness.topic("t", partitions: 2) }
            disk.set(nil)
            let topic = try harness.topic("t", partitions: 2, id: Self.second)
            _ = try #require(topic.partition(0)).appendNow(batch(["kept"]))
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, disk)
        let topic = try #require(harness.engine.topic(named: "t"))
        #expect(topic.id == Self.second && topic.isOnline)
        #expect(try #require(topic.partition(0)).values().map(\.1) == ["kept"])
        #expect(harness.engine.topics().count == 1)
    }

    @Test func `a topic that finds no space on the disk takes none of it`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        disk.set { call, path in call == .open && path.contains(".creating/") ? ENOSPC : 0 }
        let refused = #expect(throws: StorageError.self) { try harness.topic("t", partitions: 9) }
        #expect(refused?.code == .diskFull)
        #expect(try disk.list("\(folder.path)/topics").isEmpty)
        disk.set(nil)
        _ = try harness.topic("t", partitions: 9)
        try harness.engine.close()
    }

    @Test func `partitions that were refused are not there after a restart`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk)
            let topic = try harness.topic("t", partitions: 2)
            Self.refuse(3, disk)
            #expect(throws: StorageError.self) {
                try harness.engine.addPartitions(topic.id, total: 4)
            }
            disk.set(nil)
            #expect(topic.partitionCount == 2)
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, disk)
        let topic = try harness.topic("t")
        #expect(topic.partitionCount == 2 && topic.partitions.count == 2)
        try harness.engine.addPartitions(topic.id, total: 4)
        for log in topic.partitions { _ = try log.appendNow(batch(["v"])) }
        #expect(try topic.partitions.map { try $0.values().count } == [1, 1, 1, 1])
    }

    /// Copies that a person made have such names.
    @Test func `what only looks like ours is left alone`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk)
            _ = try #require(try harness.topic("t").partition(0)).appendNow(batch(["kept"]))
            try harness.engine.close()
        }
        let topics = "\(folder.path)/topics"
        let id = TopicID(high: 1, low: 1)
        let strangers = [
            "orders.creating", "old.deleted-orders", "\(id).deleted-copy", "\(id).creating.old",
        ]
        for name in strangers {
            try disk.makeDirectory("\(topics)/\(name)")
            _ = try disk.open("\(topics)/\(name)/precious", .createNew)
        }
        let files = [
            "\(folder.path)/marks-01.log", "\(topics)/\(id)/0/00000000000000000000.g01.log",
        ]
        for path in files { _ = try disk.open(path, .createNew) }
        let harness = try StorageHarness(folder.path, disk)
        for name in strangers {
            #expect(try disk.status("\(topics)/\(name)/precious") != nil, "\(name)")
        }
        for path in files { #expect(try disk.status(path) != nil, "\(path)") }
        let told = harness.engine.startReport.events.filter { $0.kind == .stranger }
        #expect(told.count == strangers.count + 1)
        let topic = try #require(harness.engine.topic(named: "t"))
        #expect(try #require(topic.partition(0)).values().map(\.1) == ["kept"])
        try harness.engine.close()
    }

    @Test func `a deleted topic that cannot go does not keep the others`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let stuck = try harness.topic("stuck")
        disk.set { call, path in call == .remove && path.contains("\(stuck.id)") ? EACCES : 0 }
        try harness.engine.deleteTopic(stuck.id)
        let other = try harness.topic("other", id: Self.second)
        try harness.engine.deleteTopic(other.id)
        let left = try disk.list("\(folder.path)/topics")
        #expect(left.count == 1 && left[0].hasPrefix("\(stuck.id)"))
        disk.set(nil)
        harness.engine.removeDeleted()
        #expect(try disk.list("\(folder.path)/topics").isEmpty)
        try harness.engine.close()
    }

    @Test func `of two topics of one name neither is served, and nothing is touched`() throws {
        let folder = try TemporaryDirectory()
        let disk = PosixFileSystem()
        let ids = [TopicID(high: 1, low: 1), Self.second]
        do {
            let harness = try StorageHarness(folder.path, disk)
            for (id, name) in zip(ids, ["t", "u"]) {
                let topic = try harness.topic(name, id: id)
                _ = try #require(topic.partition(0)).appendNow(batch(["of \(name)"]))
            }
            try harness.engine.close()
        }
        let home = "\(folder.path)/topics/\(Self.second)"
        let other = TopicMetadata(id: Self.second, name: "t", partitions: 1)
        try disk.replace("\(home)/topic.meta", with: TopicMetadataText.encode(other), in: home)
        let harness = try StorageHarness(folder.path, disk)
        for id in ids {
            let topic = try #require(harness.engine.topic(id: id))
            #expect(!topic.isOnline && topic.name == "t" && topic.partitions.isEmpty)
        }
        #expect(harness.engine.topic(named: "t")?.isOnline == false)
        let isWhole = harness.engine.isWhole.load(ordering: .relaxed)
        #expect(!isWhole)
    }

    @Test func `no topic is made while the name of one cannot be read`() throws {
        let folder = try TemporaryDirectory()
        let disk = PosixFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk)
            _ = try harness.topic("t")
            try harness.engine.close()
        }
        let path = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/topic.meta"
        let whole = try disk.contents(of: path, atMost: 1 << 20)
        try disk.open(path, .readWrite).truncate(to: 20)
        do {
            let harness = try StorageHarness(folder.path, disk)
            #expect(harness.engine.topic(named: "t") == nil)
            let refused = #expect(throws: StorageError.self) {
                try harness.topic("t", id: Self.second)
            }
            #expect(refused?.code == .offline)
            try harness.engine.close()
        }
        let home = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))"
        try disk.replace(path, with: whole, in: home)
        let harness = try StorageHarness(folder.path, disk)
        #expect(harness.engine.topic(named: "t")?.isOnline == true)
        _ = try harness.topic("u", id: Self.second)
    }

    @Test(arguments: [20, nil])
    func `a topic that is offline is not changed, and its metadata stays`(_ cut: Int64?) throws {
        let folder = try TemporaryDirectory()
        let disk = PosixFileSystem()
        let id = TopicID(high: 1, low: 1)
        let home = "\(folder.path)/topics/\(id)"
        do {
            let harness = try StorageHarness(folder.path, disk)
            let topic = try harness.topic("t", settings: ["retention.ms": "-1"], id: id)
            _ = try #require(topic.partition(0)).appendNow(batch(["kept"]))
            _ = try harness.topic("u", id: Self.second)
            try harness.engine.close()
        }
        if let cut {
            try disk.open("\(home)/topic.meta", .readWrite).truncate(to: cut)
        } else {
            let other = "\(folder.path)/topics/\(Self.second)"
            let doubled = TopicMetadata(id: Self.second, name: "t", partitions: 1)
            try disk.replace(
                "\(other)/topic.meta", with: TopicMetadataText.encode(doubled), in: other)
        }
        let before = try disk.contents(of: "\(home)/topic.meta", atMost: 1 << 20)
        let engine = try StorageHarness(folder.path, disk).engine
        let changes: [() throws -> Void] = [
            {
                _ = try engine.alterTopic(id, changes: [("retention.ms", "5")], validateOnly: false)
            },
            { try engine.addPartitions(id, total: 2) },
            { _ = try engine.skipDamage(id, partition: 0, from: 0, to: 9, execute: true) },
        ]
        for change in changes {
            let refused = #expect(throws: StorageError.self) { try change() }
            #expect(refused?.code == .offline)
        }
        #expect(try disk.contents(of: "\(home)/topic.meta", atMost: 1 << 20) == before)
        #expect(try disk.list(home).count == 2)
    }

    @Test func `a topic that is deleted while it warms up harms no other`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let topic = try harness.topic("t")
        let log = try #require(topic.partition(0))
        // A snapshot from above the log's end, which warming up removes.
        _ = try disk.open("\(log.directory)/\(LogFileNames.producers(1000))", .createNew)
        let isFirst = Mutex(true)
        disk.set { call, path in
            guard call == .remove, path.hasSuffix(".producers"),
                isFirst.withLock({ isFirst in
                    defer { isFirst = false }
                    return isFirst
                })
            else { return 0 }
            do {
                try harness.engine.deleteTopic(topic.id)
            } catch {
                Issue.record("\(error)")
            }
            return 0
        }
        guard case .refused(.offline(.deleted)) = try log.appendNow(batch(["v"])) else {
            Issue.record("appended to a topic that is gone")
            return
        }
        // Its files are closed and have another name: that is no failure of the disk.
        let error = #expect(throws: StorageError.self) { _ = try log.offset(forTime: 0) }
        #expect(error?.code == .unknownTopic)
        #expect(harness.engine.context.failed == nil)
        let other = try #require(try harness.topic("u", id: Self.second).partition(0))
        guard case .appended = try other.appendNow(batch(["v"])) else {
            Issue.record("the other topic does not go on")
            return
        }
    }
}
