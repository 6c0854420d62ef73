import MartletFormat
import MartletWire

extension AdminClient {
    /// Makes a group without members. From then on its lag counts.
    ///
    /// - Parameters:
    ///   - name: of the group, by the rule of topics' names.
    ///   - kind: how it shares its work.
    ///   - topics: names and patterns (`*` for any characters) of what its members will want, 100 at
    ///     most. Until the first of them says so itself, the group's lag counts there, and topics that
    ///     are kept until they are consumed wait for it there alone. Empty: nothing is known, its lag
    ///     is none, and all such topics wait.
    /// - Throws: `GROUP_EXISTS`, `INVALID_GROUP_NAME`, `LIMIT_REACHED`, `INVALID_REQUEST`.
    public func createGroup(
        _ name: String, _ kind: GroupKind = .stream, topics: [String] = []
    ) async throws {
        var request = CreateGroupRequest()
        request.group = name
        request.topics = topics.map { TopicNameItem($0) }
        request.kind = kind.wire
        _ = try await port.call(request, isRepeatable: false, facts: ["group": name])
    }

    /// Deletes a group that has no members, and all that it has committed.
    ///
    /// - Parameter name: of the group.
    /// - Throws: `UNKNOWN_GROUP`, `GROUP_NOT_EMPTY`.
    public func deleteGroup(_ name: String) async throws {
        var request = DeleteGroupRequest()
        request.group = name
        _ = try await port.call(request, isRepeatable: false, facts: ["group": name])
    }

    /// All groups, by name.
    ///
    /// - Returns: one entry per group.
    public func listGroups() async throws -> [GroupListing] {
        var groups: [GroupListing] = []
        var request = ListGroupsRequest()
        while true {
            let reply = try await port.call(request, isRepeatable: true)
            for group in reply.groups { groups.append(try GroupListing(group)) }
            guard reply.hasMore, let last = reply.groups.last?.group, last > request.after else {
                return groups
            }
            request.after = last
        }
    }

    /// Who is in a group, who owns what, and how far it is.
    ///
    /// - Parameter name: of the group.
    /// - Returns: the description.
    /// - Throws: `UNKNOWN_GROUP`.
    public func describeGroup(_ name: String) async throws -> GroupDescription {
        var request = DescribeGroupRequest()
        request.group = name
        let reply = try await port.call(request, isRepeatable: true, facts: ["group": name])
        let names = Dictionary(
            reply.topics.map { ($0.topic, $0.name) }, uniquingKeysWith: { first, _ in first })
        guard let handled = HandlerTimesByType(reply.handled) else {
            throw MartletError.protocolError("The times of the group's handlers cannot be.")
        }
        return GroupDescription(
            name: name, createdAt: reply.createdAt, lag: reply.lag,
            lagTime: reply.lagMilliseconds.duration ?? .zero,
            retentionHeadroom: reply.headroomMilliseconds.duration,
            retentionHeadroomBytes: reply.headroomBytes.known,
            members: reply.members.map(GroupMemberInfo.init),
            partitions: reply.partitions.map {
                GroupPartitionInfo($0, topic: names[$0.owned.topic] ?? "")
            },
            kind: try GroupKind(wire: reply.kind),
            queues: reply.queues.map { QueuePartitionInfo($0, topic: names[$0.topic] ?? "") },
            replays: reply.replays.map { ReplayInfo($0, topic: names[$0.topic] ?? "") },
            pauses: reply.pauses.map {
                let (topic, number) = ($0.place.topic, $0.place.partition)
                let part = GroupPart(names[topic] ?? "", number < 0 ? nil : number)
                return GroupPause(part: topic == .zero ? nil : part, since: $0.since)
            }, policy: try FailurePolicy(reply.policy),
            deadLetters: DeadLetterCounts(reply.letters),
            breaker: try GroupBreaker(reply.breaker),
            handlerTime: HandlerTimeSummary(handled.total),
            handlerTimeByType: handled.lines.mapValues { HandlerTimeSummary($0) })
    }

    /// Sets how far a group without members is: members that join later begin there.
    ///
    /// - Parameters:
    ///   - group: its name; it must exist.
    ///   - offsets: the next record to handle, by partition; not negative, and not above the end of
    ///     what can be read.
    ///   - metadata: words of your own, kept with each of them until the next commit there
    ///     (`GroupPartitionInfo.metadata`); at most 4,096 bytes of UTF-8, or less as the broker allows.
    /// - Throws: `INVALID_ARGUMENT` for too many words; `UNKNOWN_GROUP`, `GROUP_NOT_EMPTY`,
    ///   `UNKNOWN_TOPIC`, `OFFSET_OUT_OF_RANGE` (the message has the end), `LIMIT_REACHED`,
    ///   `INVALID_REQUEST`. Offsets before the one that was refused (`error.context` names it) may be set.
    public func commitOffsets(
        _ group: String, _ offsets: [TopicPartition: Int64], metadata: String = ""
    ) async throws {
        try CommitMetadata.check(metadata)
        var ids: [String: TopicID] = [:]
        for topic in Set(offsets.keys.map(\.topic)) {
            ids[topic] = try await self.metadata(topic).id
        }
        var rest = offsets.sorted { $0.key < $1.key }[...]
        while !rest.isEmpty {
            let part = rest.prefix(WireLimits.partitionsPerRequestMax)
            rest = rest.dropFirst(part.count)
            var request = CommitOffsetsRequest()
            request.group = group
            request.entries = part.map { partition, offset in
                var entry = CommitEntry()
                entry.owned.topic = ids[partition.topic] ?? .zero
                entry.owned.partition = partition.partition
                entry.position.offset = offset
                entry.position.metadata = metadata
                return entry
            }
            let reply = try await port.call(request, isRepeatable: true, facts: ["group": group])
            guard reply.results.count == part.count else {
                throw MartletError.protocolError("The commit's reply has another length.")
            }
            for (asked, result) in zip(part, reply.results) where result.error != .none {
                throw MartletError(
                    result.error, result.message,
                    context: asked.key.context.merging(["group": group]) { first, _ in first })
            }
        }
    }
}

extension GroupListing {
    fileprivate init(_ item: GroupSummary) throws(MartletError) {
        self.init(
            name: item.group, kind: try GroupKind(wire: item.kind), members: Int(item.members),
            partitions: Int(item.partitions), lag: item.lag, isPaused: item.isPaused,
            pausedParts: Int(item.pausedParts),
            breaker: try GroupBreaker.State(wire: item.breaker), parked: item.parked,
            dead: item.dead)
    }
}

extension GroupKind {
    fileprivate var wire: UInt8 {
        switch self {
        case .stream: 0
        case .queue(let start, let order): start.wire(order)
        }
    }

    fileprivate init(wire: UInt8) throws(MartletError) {
        switch wire {
        case 0: self = .stream
        case 1: self = .queue(.earliest)
        case 2: self = .queue(.latest)
        case 3: self = .queue(.earliest, order: .byKey)
        case 4: self = .queue(.latest, order: .byKey)
        default:
            throw .protocolError("The broker names a kind of group, \(wire), that is not known.")
        }
    }
}

extension QueuePartitionInfo {
    init(_ line: QueuePartitionLine, topic: String) {
        self.init(
            partition: TopicPartition(topic, line.partition), start: line.start, floor: line.floor,
            highWatermark: line.highWatermark.known, acked: line.acked, inFlight: line.inFlight,
            ready: line.ready, delayed: line.delayed, parked: line.parked, expired: line.expired,
            dead: line.dead,
            lag: line.lag)
    }
}

extension GroupMemberInfo {
    init(_ line: GroupMemberLine) {
        self.init(
            id: line.member.description, instance: line.instance, client: line.client,
            partitions: Int(line.owned),
            sessionTimeout: .milliseconds(line.sessionMilliseconds),
            progressTimeout: .milliseconds(line.progressMilliseconds),
            topics: line.topics.map(\.name))
    }
}

extension GroupPartitionInfo {
    init(_ line: GroupPartitionLine, topic: String) {
        self.init(
            partition: TopicPartition(topic, line.owned.partition),
            owner: line.hasOwner ? line.owner.description : nil, epoch: line.owned.epoch,
            isLeaving: line.isLeaving, isPaused: line.isPaused,
            committed: line.committed.offset.known,
            finished: line.committed.finished.compactMap(\.range),
            metadata: line.committed.metadata, committedAt: line.committedAt.known,
            logStart: line.logStart.known, highWatermark: line.highWatermark.known,
            lag: line.lag.known, lagTime: line.lagMilliseconds.duration,
            retentionHeadroom: line.headroomMilliseconds.duration,
            retentionHeadroomBytes: line.headroomBytes.known, failing: line.failing,
            parked: line.parked)
    }
}

extension Int64 {
    /// nil for the wire's "not known".
    fileprivate var known: Int64? { self < 0 ? nil : self }

    /// Milliseconds; nil for the wire's "not known".
    fileprivate var duration: Duration? { known.map { .milliseconds($0) } }
}
