import MartletFormat
import MartletWire

/// A group's account of the records of a partition that were sent to it again.
///
/// At every moment `handled + expired + dead + inFlight + delayed + ready` is `sent`. The accounts of
/// the group's normal flow have nothing to do with it.
public struct ReplayInfo: Sendable, Equatable {
    /// Which one. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// Records that were sent again, and not taken back.
    public let sent: Int64
    /// Records that are done.
    public let handled: Int64
    /// Records that members have now, and dead letters of them that were sent again.
    public let inFlight: Int64
    /// Records that wait for a member.
    public let ready: Int64
    /// Records that come again later.
    public let delayed: Int64
    /// Records that retention or deletion took before they were done.
    public let expired: Int64
    /// Dead letters that are neither handled nor resolved, and not with the group.
    public let dead: Int64

    /// Records that are with the group now.
    public var open: Int64 { inFlight.addingClamped(ready).addingClamped(delayed) }
}

extension AdminClient {
    /// Sends records to a group again, and to no other. Its members are handed them beside what comes
    /// new, in any order and whoever owns the partition; the offsets of the group stay where they
    /// are. What fails is treated as the group's `FailurePolicy` has it. A record that is with the
    /// group already is not sent twice.
    ///
    /// - Parameters:
    ///   - records: the offsets of each partition, in ranges.
    ///   - group: its name.
    /// - Returns: how many offsets were not with the group before.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`; `OFFSET_OUT_OF_RANGE` for what
    ///   does not lie in the log; `LIMIT_REACHED` when more than 100,000 ranges of a partition would
    ///   be with the group; `INVALID_REQUEST` for the group's own dead letters. Up to 100 partitions
    ///   and 10,000 ranges, 1,000 of each partition, are sent at once: all, or none. Of more, a part
    ///   may be with the group when it throws.
    @discardableResult
    public func replayRecords(
        _ records: [TopicPartition: [Range<Int64>]], to group: String
    ) async throws -> Int64 {
        let ids = try await topicIDs(records.keys.map(\.topic))
        var parts: [ReplayPartition] = []
        for (partition, ranges) in records.sorted(by: { $0.key < $1.key }) {
            for start in stride(from: 0, to: ranges.count, by: WireLimits.rangesMax) {
                var part = ReplayPartition()
                part.topic = ids[partition.topic] ?? .zero
                part.partition = partition.partition
                part.ranges = ranges[start...].prefix(WireLimits.rangesMax)
                    .map { OffsetRange($0.lowerBound, $0.upperBound) }
                parts.append(part)
            }
        }
        var count: Int64 = 0
        for partitions in Self.requests(parts) {
            var request = ReplayRecordsRequest()
            request.group = group
            request.partitions = partitions
            // Repeated, it would send again what was handled meanwhile.
            let reply = try await port.call(request, isRepeatable: false, facts: ["group": group])
            count = count.addingClamped(reply.records)
        }
        return count
    }

    /// As many in a request as it takes, each partition once.
    private static func requests(_ parts: [ReplayPartition]) -> [[ReplayPartition]] {
        var requests: [[ReplayPartition]] = []
        var ranges = 0
        for part in parts {
            ranges += part.ranges.count
            if let last = requests.last?.last, requests[requests.count - 1].count < 100,
                ranges <= WireLimits.replayRangesMax,
                (last.topic, last.partition) != (part.topic, part.partition)
            {
                requests[requests.count - 1].append(part)
            } else {
                requests.append([part])
                ranges = part.ranges.count
            }
        }
        return requests
    }

    /// Takes back what was sent to a group again and is not handled. Handlers that have begun are not
    /// stopped. Dead letters stay: those that were sent again, too.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - partitions: only of these; none means all.
    /// - Returns: how many offsets are with the group no more.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`.
    @discardableResult
    public func cancelReplay(
        of group: String, _ partitions: [TopicPartition] = []
    ) async throws -> Int64 {
        let ids = try await topicIDs(partitions.map(\.topic))
        var request = CancelReplayRequest()
        request.group = group
        request.partitions = partitions.map {
            GroupPlace(topic: ids[$0.topic] ?? .zero, partition: $0.partition)
        }
        return try await port.call(request, isRepeatable: true, facts: ["group": group]).records
    }
}

extension ReplayInfo {
    init(_ line: ReplayLine, topic: String) {
        partition = TopicPartition(topic, line.partition)
        sent = line.sent
        handled = line.acked
        inFlight = line.inFlight
        ready = line.ready
        delayed = line.delayed
        expired = line.expired
        dead = line.dead
    }
}
