import MartletFormat
import MartletWire
import Testing

/// Commits of nobody's: to a group without members.
extension RawClient {
    func commit(
        _ topic: TopicID, _ offset: Int64, group: String = "g"
    ) throws -> ErrorCode {
        var entry = CommitEntry()
        entry.owned.topic = topic
        entry.position.offset = offset
        var request = CommitOffsetsRequest()
        request.group = group
        request.entries = [entry]
        let reply = try ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }

    /// Of the first partition of the group.
    func committed(group: String = "g") throws -> Int64 {
        var request = DescribeGroupRequest()
        request.group = group
        return try #require(try ask(request).partitions.first).committed.offset
    }
}
