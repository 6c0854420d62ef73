import MartletFormat
import MartletWire
import Testing

/// A member as a client without any library would be one.
final class RawMember {
    let client: RawClient
    let id: TopicID
    let group: String
    private(set) var revision: UInt64 = 0
    private(set) var owned: [AssignedPartition] = []

    init(_ client: RawClient, _ number: UInt64, group: String = "g") {
        self.client = client
        self.group = group
        id = TopicID(high: 9, low: number)
    }

    @discardableResult
    func join(
        _ topics: [String] = ["t"], session: Int32 = 30_000, progress: Int32 = 0,
        instance: String? = nil, kind: UInt8 = 0
    ) throws -> ErrorCode {
        var request = JoinGroupRequest()
        request.group = group
        request.member = id
        request.instance = instance
        request.sessionMilliseconds = session
        request.progressMilliseconds = progress
        request.drainMilliseconds = 30_000
        request.topics = topics.map { TopicNameItem($0) }
        request.kind = kind
        return try client.ask(request).error
    }

    func heartbeat(wait: UInt32, released: [AssignedPartition] = []) -> HeartbeatRequest {
        var request = HeartbeatRequest()
        request.group = group
        request.member = id
        request.revision = revision
        request.maxWaitMilliseconds = wait
        request.released = released.map(\.owned)
        return request
    }

    /// Asks at once.
    @discardableResult
    func beat(released: [AssignedPartition] = []) throws -> ErrorCode {
        take(try client.ask(heartbeat(wait: 0, released: released)))
    }

    /// Waits for a change.
    @discardableResult
    func waitForChange() throws -> ErrorCode {
        take(try client.ask(heartbeat(wait: 20_000)))
    }

    @discardableResult
    func take(_ reply: HeartbeatReply) -> ErrorCode {
        guard reply.error == .none else { return reply.error }
        revision = reply.revision
        owned = reply.partitions
        return .none
    }

    func commit(_ partition: AssignedPartition, _ offset: Int64) throws -> ErrorCode {
        var entry = CommitEntry()
        entry.owned = partition.owned
        entry.position.offset = offset
        entry.position.metadata = "at \(offset)"
        var request = CommitOffsetsRequest()
        request.group = group
        request.member = id
        request.entries = [entry]
        let reply = try client.ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }

    func fetch(
        _ partition: AssignedPartition, from offset: Int64, maxBytes: UInt32 = 1_000_000
    ) throws -> FetchResult {
        var request = fetchRequest(
            partition.owned.topic, from: offset, partition: partition.owned.partition,
            maxBytes: maxBytes)
        request.group = group
        request.member = id
        request.partitions[0].epoch = partition.owned.epoch
        return try #require(try client.ask(request).partitions.first)
    }
}
