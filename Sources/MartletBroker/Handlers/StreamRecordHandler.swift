import MartletFormat
import MartletGroups
import MartletSystem
import MartletWire

/// What owners of a stream group's partitions tell of the records that they handle: that one failed,
/// and, where an owner was lost, that one is about to begin. In queues the leases say that.
struct StreamRecordHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func fail(_ request: Request<FailRecordRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        guard let severity = HandlerFailure.Severity(rawValue: message.severity) else {
            return request.reply(
                .invalidRequest, "severity: \(message.severity) is not from 0 to 2")
        }
        let failed = Coordinator.FailedRecord(
            OwnedRecord(message.owned, message.offset, hasKey: message.hasKey),
            HandlerFailure(
                severity, kind: message.failure, text: message.text,
                at: services.clock.wallMilliseconds()))
        withContent(of: failed.owned, if: shard.isDying(message.group, failed)) {
            fail(request, shard, failed, $0)
        }
    }

    /// Reads a record that becomes a dead letter before it does.
    private func withContent(
        of record: OwnedRecord, if isDying: Bool,
        _ body: @escaping @Sendable (Coordinator.DeadContent?) -> Void
    ) {
        guard isDying else { return body(nil) }
        let clerk = services.groups.clerk
        clerk.execute {
            body(clerk.reader.content(of: RecordPlace(.flow(record.partition), record.offset)))
        }
    }

    private func fail(
        _ request: Request<FailRecordRequest>, _ shard: GroupShard,
        _ failed: Coordinator.FailedRecord, _ content: Coordinator.DeadContent?
    ) {
        let message = request.message
        let answer = Carried(Coordinator.FailureAnswer.dead)
        shard.run(request, heldBytes: content.bytes) { coordinator, now throws(GroupRefusal) in
            let outcome = try coordinator.fail(
                message.group, MemberID(message.member), failed, content, at: now)
            answer.value = outcome.answer
            return outcome.records
        } _: { _, _ in
            var reply = FailRecordReply()
            switch answer.value {
            case .again(let milliseconds): reply.milliseconds = milliseconds
            case .dead: reply.answer = 1
            case .paused: reply.answer = 2
            case .parked(let isKey): reply.answer = isKey ? 4 : 3
            }
            return reply
        }
    }

    /// Where an owner was lost.
    func start(_ request: Request<StartRecordRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let started = Coordinator.StartedRecord(
            OwnedRecord(message.owned, message.offset, hasKey: message.hasKey),
            number: message.number, isAlone: message.isAlone)
        let isDying = shard.isDying(message.group, started)
        withContent(of: started.owned, if: isDying) {
            start(request, shard, started, $0)
        }
    }

    private func start(
        _ request: Request<StartRecordRequest>, _ shard: GroupShard,
        _ started: Coordinator.StartedRecord, _ content: Coordinator.DeadContent?
    ) {
        let (group, member) = (request.message.group, MemberID(request.message.member))
        let answer = Carried(Coordinator.StartAnswer.passed)
        shard.run(request, heldBytes: content.bytes) { coordinator, now throws(GroupRefusal) in
            let outcome = try coordinator.start(group, member, started, content, at: now)
            answer.value = outcome.answer
            return outcome.records
        } _: { state, _ in
            if answer.value == .go { state.coordinator.began(group, member, started) }
            var reply = StartRecordReply()
            switch answer.value {
            case .go: reply.answer = 0
            case .passed: reply.answer = 1
            case .paused: reply.answer = 2
            case .later(let milliseconds): (reply.answer, reply.milliseconds) = (3, milliseconds)
            case .alone: reply.answer = 4
            case .parked(let isKey): reply.answer = isKey ? 6 : 5
            }
            return reply
        }
    }
}

extension OwnedRecord {
    fileprivate init(_ owned: OwnedPartition, _ offset: Int64, hasKey: Bool) {
        self.init(
            TopicPartition(owned.topic, owned.partition), epoch: owned.epoch, offset,
            hasKey: hasKey)
    }
}

extension Coordinator.DeadContent? {
    /// Held in memory.
    fileprivate var bytes: Int {
        if case .record(let body, _) = self { return body.count }
        return 0
    }
}
