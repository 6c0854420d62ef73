/// Two or more values that are each right and cannot be together.
struct CombinationComplaint: Equatable {
    /// Titles of the keys that take part.
    let keys: [String]
    let message: String
}

extension BrokerConfiguration {
    /// Sentences, each with the names and the values of the keys.
    package var combinationProblems: [String] { combinationComplaints().map(\.message) }

    /// The listeners that others than this machine can reach although nobody is asked who they are,
    /// for the banner at the start.
    package var openListeners: [(name: String, address: HostPort)] {
        [("listener", listener.listen), ("admin", admin.listen)].filter { !$0.1.isLoopback }
    }

    func combinationComplaints() -> [CombinationComplaint] {
        anonymousComplaints() + sizeComplaints() + storageComplaints() + topicComplaints()
    }

    private func anonymousComplaints() -> [CombinationComplaint] {
        var complaints: [CombinationComplaint] = []
        for (section, address, isAllowed) in [
            ("listener", listener.listen, listener.allowAnonymous),
            ("admin", admin.listen, admin.allowAnonymous),
        ] where !address.isLoopback && !isAllowed {
            complaints.append(
                CombinationComplaint(
                    keys: ["[\(section)] listen", "[\(section)] allow-anonymous"],
                    message:
                        "[\(section)] listen = \(address) is open to other machines and there "
                        + "is no "
                        + "authentication: set [\(section)] allow-anonymous = true, "
                        + "or listen on 127.0.0.1"
                ))
        }
        if listener.listen == admin.listen, listener.listen.port != 0 {
            complaints.append(
                CombinationComplaint(
                    keys: ["[listener] listen", "[admin] listen"],
                    message: "[listener] listen and [admin] listen are both \(listener.listen)"))
        }
        return complaints
    }

    private func sizeComplaints() -> [CombinationComplaint] {
        let rules = [
            atLeast(
                ("listener", "frame.bytes.max"), ("topic", "batch.bytes.max"), plus: 64 << 10,
                Int64(listener.frameBytesMax), topic.batchBytesMax),
            atLeast(
                ("listener", "frame.bytes.max"), ("listener", "hello.frame.bytes.max"),
                Int64(listener.frameBytesMax), Int64(listener.helloFrameBytesMax)),
            atLeast(
                ("listener", "output.bytes.max"), ("listener", "frame.bytes.max"),
                Int64(listener.outputBytesMax), Int64(listener.frameBytesMax)),
            listener.memoryBytesMax == 0
                ? nil
                : atLeast(
                    ("listener", "memory.bytes.max"), ("listener", "output.bytes.max"),
                    Int64(listener.memoryBytesMax), Int64(listener.outputBytesMax)),
            atLeast(
                ("listener", "connections.max"), ("listener", "connections.per.address.max"),
                Int64(listener.connectionsMax), Int64(listener.connectionsPerAddressMax)),
            atLeast(
                ("listener", "connection.rate.max"),
                ("listener", "connection.rate.per.address.max"),
                Int64(listener.connectionRateMax), Int64(listener.connectionRatePerAddressMax)),
        ]
        return rules.compactMap { $0 }
    }

    private func storageComplaints() -> [CombinationComplaint] {
        let rules = [
            atLeast(
                ("storage", "unsynced.durable.bytes.max"),
                ("storage", "unsynced.durable.partition.bytes.max"),
                storage.unsyncedDurableBytesMax, storage.unsyncedDurablePartitionBytesMax),
            atLeast(
                ("storage", "unsynced.written.bytes.max"),
                ("storage", "unsynced.written.partition.bytes.max"),
                storage.unsyncedWrittenBytesMax, storage.unsyncedWrittenPartitionBytesMax),
            atLeast(
                ("storage", "unsynced.written.partition.bytes.max"),
                ("storage", "written.sync.bytes"),
                storage.unsyncedWrittenPartitionBytesMax, storage.writtenSyncBytes),
            atLeast(
                ("storage", "disk.free.high"), ("storage", "disk.free.low"), plus: 1,
                storage.diskFreeHighBytes, storage.diskFreeLowBytes),
            storage.diskFreeLowBytes == 0
                ? nil
                : atLeast(
                    ("storage", "disk.free.low"), ("storage", "disk.reserve"),
                    storage.diskFreeLowBytes, storage.diskReserveBytes),
            atLeast(
                ("storage", "partitions.max"), ("storage", "topics.max"),
                Int64(storage.partitionsMax), Int64(storage.topicsMax)),
        ]
        return rules.compactMap { $0 }
    }

    private func topicComplaints() -> [CombinationComplaint] {
        let rules = [
            atLeast(
                ("topic", "segment.bytes"), ("topic", "batch.bytes.max"),
                topic.segmentBytes, topic.batchBytesMax),
            atLeast(
                ("storage", "partitions.max"), ("topic", "partitions"),
                Int64(storage.partitionsMax), Int64(topic.partitions)),
            storage.retentionMillisecondsMax < 0
                ? nil
                : atLeast(
                    ("storage", "retention.time.max"), ("topic", "retention.time"),
                    storage.retentionMillisecondsMax,
                    topic.retentionMilliseconds < 0 ? .max : topic.retentionMilliseconds),
        ]
        return rules.compactMap { $0 }
    }

    /// Nil when the first is large enough. All values are bounded by the ranges of their keys, so
    /// that the sum cannot overflow.
    private func atLeast(
        _ larger: (String, String),
        _ smaller: (String, String),
        plus margin: Int64 = 0,
        _ largerValue: Int64,
        _ smallerValue: Int64
    ) -> CombinationComplaint? {
        guard largerValue < smallerValue + margin else { return nil }
        let keys = [larger, smaller].compactMap { Self.key($0.0, $0.1) }
        let shown = keys.map { "\($0.title) = \($0.text(in: self))" }
        let distance =
            switch margin {
            case 0: "at least as large as"
            case 1: "larger than"
            case _: "larger by \(Units.format(bytes: margin)) than"
            }
        return CombinationComplaint(
            keys: keys.map(\.title),
            message: "\(shown.first ?? "") must be \(distance) \(shown.last ?? "")")
    }
}
