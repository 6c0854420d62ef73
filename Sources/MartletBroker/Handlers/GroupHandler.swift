import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// Groups: who is in them, who owns what, how far they are.
struct GroupHandler: Sendable {
    let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    private func shard(of group: String) -> GroupShard? { services.groups.shard(of: group) }

    /// Runs a command that makes its group, and with the first group the topics.
    private func make<Message: WireRequest>(
        _ request: Request<Message>, _ group: String, by cause: GroupCause = .member,
        _ handle:
            @escaping @Sendable (inout Coordinator, Now) throws(GroupRefusal) -> [GroupRecord],
        _ reply: @escaping @Sendable () -> Message.Reply
    ) {
        services.groups.withShard(of: group) { found in
            switch found {
            case .success(let shard):
                shard.run(request, by: cause, handle) { _, _ in reply() }
            case .failure(let error):
                request.connection.loop.post(
                    .run { request.reply(StorageErrors.code(error), error.message) })
            }
        }
    }

    /// Runs a command on a group that there is.
    func run<Message: WireRequest>(
        _ request: Request<Message>, _ group: String, by cause: GroupCause = .member,
        _ handle:
            @escaping @Sendable (inout Coordinator, Now) throws(GroupRefusal) -> [GroupRecord],
        _ reply: @escaping @Sendable () -> Message.Reply
    ) {
        guard let shard = shard(of: group) else { return request.reply(.unknownGroup) }
        shard.run(request, by: cause, handle) { _, _ in reply() }
    }

    // MARK: - Members

    func join(_ request: Request<JoinGroupRequest>) {
        let message = request.message
        guard isAllowed(message.group), message.member != .zero else {
            return request.reply(
                .invalidGroupName, "\(Self.allowed); a member's id is not 0")
        }
        let member = Member(
            instance: message.instance, client: request.session.clientName,
            subscription: Subscription(message.topics.map(\.name)),
            sessionMilliseconds: message.sessionMilliseconds,
            progressMilliseconds: message.progressMilliseconds,
            drainMilliseconds: message.drainMilliseconds)
        make(request, message.group) { coordinator, now throws(GroupRefusal) in
            try coordinator.join(
                message.group, MemberID(message.member), member, try GroupKind(message.kind),
                at: now)
        } _: {
            JoinGroupReply()
        }
    }

    func heartbeat(_ request: Request<HeartbeatRequest>) {
        let message = request.message
        guard let shard = shard(of: message.group) else { return request.reply(.unknownGroup) }
        let key = MemberKey(group: message.group, member: MemberID(message.member))
        let released = message.released.map {
            (TopicPartition($0.topic, $0.partition), $0.epoch)
        }
        let wait = min(Int(message.maxWaitMilliseconds), services.limits.fetchWaitMillisecondsMax)
        let deadline = services.clock.monotonicNanoseconds() + BrokerLimits.nanoseconds(wait)
        shard.run(request) { coordinator, now throws(GroupRefusal) in
            try coordinator.heartbeat(
                key.group, key.member, revision: message.revision, progress: message.progress,
                released: released, at: now)
        } _: { state, _ throws(GroupRefusal) in
            let view = try state.coordinator.view(key.group, key.member)
            // Only its last heartbeat waits.
            if let earlier = state.parked.removeValue(forKey: key) { earlier.supersede() }
            let isNew =
                message.news > 0
                && message.news != state.coordinator.newsNumber(of: key.group)
            guard view.revision == message.revision, !isNew, wait > 0 else {
                return HeartbeatReply.view(&state.coordinator, key, message)
            }
            let parked = ParkedHeartbeat(request, key, shard, deadline: deadline)
            state.parked[key] = parked
            parked.park()
            return nil
        }
    }

    func leave(_ request: Request<LeaveGroupRequest>) {
        let message = request.message
        guard !message.stays else { return rest(request) }
        run(request, message.group) { coordinator, now throws(GroupRefusal) in
            try coordinator.leave(message.group, MemberID(message.member), at: now)
        } _: {
            LeaveGroupReply()
        }
    }

    /// It goes without leaving.
    private func rest(_ request: Request<LeaveGroupRequest>) {
        let message = request.message
        guard let shard = shard(of: message.group) else { return request.reply(.unknownGroup) }
        shard.run(request) { _, _ in
            []
        } _: { state, _ in
            state.coordinator.rest(message.group, MemberID(message.member))
            return LeaveGroupReply()
        }
    }

    // MARK: - Commits

    func commit(_ request: Request<CommitOffsetsRequest>) {
        let message = request.message
        guard let shard = shard(of: message.group) else { return request.reply(.unknownGroup) }
        guard let handled = message.handled.times else { return request.refuseHandled() }
        guard let resets = message.policyResets else {
            return request.reply(
                .invalidRequest, "resets: reasons are from 1 to 3, and offsets not below 0")
        }
        let services = services
        let member = message.member == .zero ? nil : MemberID(message.member)
        let at = services.clock.wallMilliseconds()
        // Before the group is locked. An end does not go back while the broker runs.
        let commits = message.entries.map { $0.commit(at: at, services.engine) }
        let results = Carried<[CommitResult]>([])
        shard.run(request) { coordinator, now throws(GroupRefusal) in
            if let member {
                try coordinator.takeCommit(message.group, member, number: message.number)
            }
            results.value = []
            var records: [GroupRecord] = []
            var stops: [GroupRecord] = []
            for (entry, commit) in zip(message.entries, commits) {
                do throws(GroupRefusal) {
                    records.append(try coordinator.commit(message.group, member, commit))
                    results.value.append(CommitResult())
                    guard member != nil, entry.isFull else { continue }
                    stops += try coordinator.stop(message.group, commit.partition, at: now)
                } catch {
                    results.value.append(CommitResult(error))
                }
            }
            return records + stops
        } _: { state, _ in
            state.coordinator.handled(message.group, handled)
            if let member, !resets.isEmpty {
                let counted = state.coordinator.count(resets, message.group, member)
                // To begin is no news of each partition; to go on elsewhere is.
                let moved = counted.filter { $0.reason != .uncommitted }
                let events = shard.dated(
                    state.coordinator.events(of: moved, message.group, member), end: state.end)
                // The commit beside it says where: a crash that forgets it brings the same again.
                shard.tell(onceDurable: state.end) {
                    services.tellBegun(counted, message.group)
                    shard.herald.tell(events)
                }
            }
            var reply = CommitOffsetsReply()
            reply.results = results.value
            return reply
        }
    }

    // MARK: - For people

    func create(_ request: Request<CreateGroupRequest>) {
        let (name, kind) = (request.message.group, request.message.kind)
        let wanted = Subscription(request.message.topics.map(\.name))
        guard isAllowed(name) else { return request.reply(.invalidGroupName, Self.allowed) }
        make(request, name, by: request.person) { coordinator, now throws(GroupRefusal) in
            try coordinator.create(name, try GroupKind(kind), wanted: wanted, at: now)
        } _: {
            CreateGroupReply()
        }
    }

    func delete(_ request: Request<DeleteGroupRequest>) {
        let name = request.message.group
        run(request, name, by: request.person) { coordinator, _ throws(GroupRefusal) in
            try coordinator.delete(name)
        } _: {
            DeleteGroupReply()
        }
    }

    func list(_ request: Request<ListGroupsRequest>) {
        request.answer(on: services.readers.next()) { request in
            let message = request.message
            let most = WireLimits.groupsMax
            let count = message.max == 0 ? most : min(Int(message.max), most)
            var reply = ListGroupsReply()
            let rest = services.groups.names.filter { $0 > message.after }.sorted()
            reply.hasMore = rest.count > count
            reply.groups = rest.prefix(count).compactMap(summary)
            return reply
        }
    }

    /// nil when the group went meanwhile.
    private func summary(_ name: String) -> GroupSummary? {
        do throws(GroupRefusal) {
            guard let group = try shard(of: name)?.describe(name) else { return nil }
            var summary = GroupSummary()
            summary.group = group.name
            summary.members = UInt32(clamping: group.members.count)
            summary.partitions = UInt32(clamping: group.partitions.count)
            summary.lag = group.partitions.reduce(0) { sum, partition in
                sum + max(0, services.lag.line(name, partition, mayBlock: false).lag)
            }
            summary.kind = group.kind.number
            summary.isPaused = group.pauses.contains { $0.place.topic == .zero }
            summary.pausedParts = UInt32(clamping: group.pauses.count { $0.place.topic != .zero })
            summary.breaker = group.breaker.state.number
            summary.parked = group.parked.records
            summary.dead = group.letters.dead
            return summary
        } catch {
            return nil
        }
    }

    func setBreaker(_ request: Request<SetBreakerRequest>) {
        let message = request.message
        guard let shard = shard(of: message.group) else { return request.reply(.unknownGroup) }
        shard.run(request, by: request.person) { coordinator, now throws(GroupRefusal) in
            try coordinator.setBreaker(message.group, message.isOpen ? .open : .close, at: now)
        } _: { _, _ in
            SetBreakerReply()
        }
    }

    func describe(_ request: Request<DescribeGroupRequest>) {
        request.answer(on: services.readers.next()) { request in
            let name = request.message.group
            do throws(GroupRefusal) {
                guard let shard = shard(of: name) else { throw GroupRefusal.unknownGroup }
                return description(
                    try shard.describe(name, gaps: services.engine.vacant))
            } catch {
                return DescribeGroupReply(error: error.code, message: error.text)
            }
        }
    }

    private func description(_ group: GroupDescription) -> DescribeGroupReply {
        var reply = DescribeGroupReply()
        reply.createdAt = group.createdAt
        reply.members = group.members.map { line in
            var member = GroupMemberLine()
            member.member = line.id.bits
            member.instance = line.member.instance
            member.client = line.member.client
            member.owned = UInt32(clamping: line.owned)
            member.sessionMilliseconds = line.member.sessionMilliseconds
            member.progressMilliseconds = line.member.progressMilliseconds
            member.topics = line.member.subscription.terms.map { TopicNameItem($0) }
            return member
        }
        var ranges = RangeRoom()
        reply.partitions = group.partitions.map {
            var line = services.lag.line(group.name, $0, mayBlock: true)
            ranges.fit(&line.committed)
            return line
        }
        reply.kind = group.kind.number
        reply.queues = group.queues.map { QueuePartitionLine($0, services.engine) }
        reply.replays = group.replays.map { ReplayLine($0) }
        reply.policy = FailurePolicyItem(group.policy)
        reply.letters = DeadLetterCounts(group.letters)
        reply.breaker = BreakerItem(group.breaker)
        reply.handled = group.handled.items
        let total = GroupLag.total(reply.partitions)
        reply.lag = total.records
        reply.lagMilliseconds = total.milliseconds
        reply.headroomMilliseconds = total.headroomMilliseconds
        reply.headroomBytes = total.headroomBytes
        reply.pauses = group.pauses.map {
            var line = GroupPauseLine()
            line.place = GroupPlace(topic: $0.place.topic, partition: $0.place.partition)
            line.since = $0.at
            return line
        }
        let topics =
            group.partitions.map(\.partition.topic)
            + group.pauses.map(\.place.topic).filter { $0 != .zero }
            + group.replays.map(\.partition.topic)
        reply.topics = TopicNaming.all(topics) { id in
            services.engine.topic(id: id)?.name
        }
        return reply
    }

    private static let allowed =
        "a group's name has 1 to 245 letters, digits, '.', '_' and '-', and no '.dlq' at its end"

    /// Groups are named by the rule of topics, and so are their dead letter topics.
    private func isAllowed(_ name: String) -> Bool {
        let letters = name + TopicMetadata.reservedSuffix
        return TopicMetadata.problem(withName: name, isInternal: false) == nil
            && TopicMetadata.problem(withName: letters, isInternal: true) == nil
    }
}

extension Request {
    /// Who asks for what only people ask for.
    var person: GroupCause { .person(client: session.clientName) }

    /// A member says of its handlers what cannot be.
    func refuseHandled() {
        reply(
            .invalidRequest,
            "handled: buckets from 0 to \(HandlerTimes.bucketCount - 1) in order, each with calls, "
                + "the longest in the last of them, and the sum from that to that of so many")
    }
}

extension CommitOffsetsRequest {
    /// nil for what no policy can choose.
    fileprivate var policyResets: [PolicyReset]? {
        var found: [PolicyReset] = []
        for item in resets {
            guard let reason = PolicyReset.Reason(rawValue: item.reason), item.to >= 0,
                item.from >= -1
            else { return nil }
            found.append(
                PolicyReset(
                    partition: TopicPartition(item.owned.topic, item.owned.partition),
                    epoch: item.owned.epoch, reason: reason,
                    from: item.from < 0 ? nil : item.from, to: item.to))
        }
        return found
    }
}

extension BrokerServices {
    fileprivate func tellBegun(_ resets: [PolicyReset], _ group: String) {
        let begun = resets.count { $0.reason == .uncommitted }
        guard begun > 0 else { return }
        peerLogger.info(
            "GROUP_BEGINS", "a group begins where its members' reset policy says",
            [("group", LogValue(group)), ("partitions", LogValue(begun))])
    }
}

extension CommitEntry {
    fileprivate func commit(at time: Int64, _ engine: StorageEngine) -> Coordinator.Commit {
        let key = TopicPartition(owned.topic, owned.partition)
        return Coordinator.Commit(
            partition: key, epoch: owned.epoch,
            committed: CommittedOffset(position, at: time), end: engine.visibleEnd(of: key))
    }
}
