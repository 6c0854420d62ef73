import MartletFormat
import MartletWire

extension AdminClient {
    /// Lets a group stand still: its members finish and commit what they have begun, and read
    /// nothing more there until it is resumed. It holds over restarts of members and broker.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - places: topics and partitions; none means the whole group.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `LIMIT_REACHED`.
    public func pauseGroup(_ group: String, _ places: [GroupPart] = []) async throws {
        try await setPaused(true, group, places)
    }

    /// Lets a group go on.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - places: topics and partitions, with all that is paused within; none means the whole
    ///     group.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`; `INVALID_REQUEST` when more than the place is
    ///   paused: resume that.
    public func resumeGroup(_ group: String, _ places: [GroupPart] = []) async throws {
        try await setPaused(false, group, places)
    }

    private func setPaused(_ isPaused: Bool, _ group: String, _ places: [GroupPart]) async throws {
        let ids = try await topicIDs(places.map(\.topic))
        var request = PauseGroupRequest()
        request.group = group
        request.isPaused = isPaused
        request.places = places.map {
            GroupPlace(topic: ids[$0.topic] ?? .zero, partition: $0.partition ?? -1)
        }
        _ = try await port.call(request, isRepeatable: true, facts: ["group": group])
    }

    /// Sets how far a group is. Members that own a partition get it again under a new epoch and go
    /// on there; what they commit late is refused.
    ///
    /// A queue group begins anew there: records below are owed no more, all others are owed again,
    /// also those that were acked, and the accounts begin at 0. What members have of it they have no
    /// more, so what they say late is refused with `LEASE_LOST`. Dead letters stay: such a record is
    /// not owed as well, until its letter was handled or resolved and the group is reset once more.
    /// What was sent to the group again stays so.
    ///
    /// At most 4,096 partitions at once; all are set, or none.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - changes: the plan.
    ///   - force: also where a member reads, or of a queue has records, and the group is not paused;
    ///     and where the group is not any more where the plan says.
    /// - Returns: the changes with the offsets that were set: the nearest that the log has.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `GROUP_NOT_EMPTY`,
    ///   `RESET_OUTDATED`, `INVALID_REQUEST`.
    @discardableResult
    public func resetGroup(
        _ group: String, _ changes: [GroupOffsetChange], force: Bool = false
    ) async throws -> [GroupOffsetChange] {
        guard changes.count <= WireLimits.partitionsPerRequestMax else {
            throw MartletError.invalid(
                "changes", "are \(changes.count): more than \(WireLimits.partitionsPerRequestMax)")
        }
        let ids = try await topicIDs(changes.map(\.partition.topic))
        var request = ResetGroupRequest()
        request.group = group
        request.isForced = force
        request.entries = changes.map { change in
            var entry = ResetEntry()
            entry.topic = ids[change.partition.topic] ?? .zero
            entry.partition = change.partition.partition
            entry.expected = change.from ?? -1
            entry.offset = change.to
            return entry
        }
        let reply = try await port.call(request, isRepeatable: false, facts: ["group": group])
        guard reply.results.count == changes.count else {
            throw MartletError.protocolError("The reset's reply has another length.")
        }
        return zip(changes, reply.results).map { change, result in
            GroupOffsetChange(change.partition, from: change.from, to: result.offset)
        }
    }

    func topicIDs(_ names: [String]) async throws -> [String: TopicID] {
        var ids: [String: TopicID] = [:]
        for name in Set(names) { ids[name] = try await metadata(name).id }
        return ids
    }
}
