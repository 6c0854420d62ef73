import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletWire

/// Queue groups: records are taken for a time, and settled.
struct QueueHandler: Sendable {
    let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func receive(_ request: Request<ReceiveRequest>) {
        guard let shard = services.groups.shard(of: request.message.group) else {
            return request.reply(.unknownGroup)
        }
        let wait = min(
            Int(request.message.maxWaitMilliseconds), services.limits.fetchWaitMillisecondsMax)
        let deadline = services.clock.monotonicNanoseconds() + BrokerLimits.nanoseconds(wait)
        let receive = ParkedReceive(request, shard, deadline: deadline) { receive in
            self.ask(shard, receive)
        }
        ask(shard, receive)
    }

    /// Answers with what is ready, or waits for it.
    private func ask(_ shard: GroupShard, _ receive: ParkedReceive) {
        let message = receive.request.message
        let id = MemberID(message.member)
        let wanted = Coordinator.Wanted(
            records: Int(message.maxRecords), leaseMilliseconds: message.leaseMilliseconds)
        let bounds = self.bounds
        let engine = services.engine
        shard.run(receive.request, isDelivery: true) { coordinator, _ throws(GroupRefusal) in
            try coordinator.receive(message.group, id, wanted, bounds: bounds, gaps: engine.vacant)
        } _: { state, now throws(GroupRefusal) in
            // The ends first: what comes after them wakes it. New records are no part of what was
            // sent again.
            let queues = try state.coordinator.queues(of: message.group, id)
            let ends = queues.filter { $0.lane == .flow }.compactMap { queue in
                log(of: queue.partition).map { (log: $0, end: $0.view.highWatermark) }
            }
            let grants = try state.coordinator.lease(
                message.group, id, wanted, bounds: bounds, gaps: engine.vacant,
                damaged: engine.damaged, at: now)
            guard grants.isEmpty, receive.deadline > now.monotonic else {
                return ReceiveReply(grants)
            }
            state.receivers[message.group, default: [:]][ObjectIdentifier(receive)] = receive
            receive.park(ends)
            return nil
        }
    }

    var bounds: @Sendable (TopicPartition) -> Range<Int64>? {
        { key in
            guard let view = log(of: key)?.view else { return nil }
            return view.logStart..<max(view.logStart, view.highWatermark)
        }
    }

    private func log(of key: TopicPartition) -> PartitionLog? {
        services.engine.topic(id: key.topic)?.partition(key.partition)
    }

    // MARK: - Settling

    func settle(_ request: Request<SettleRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        guard let handled = message.handled.times else { return request.refuseHandled() }
        let settlements: [Coordinator.Settlement]
        let time = services.clock.wallMilliseconds()
        do throws(GroupRefusal) {
            settlements = try message.entries.map { entry throws(GroupRefusal) in
                try Coordinator.Settlement(entry, at: time)
            }
        } catch {
            return request.reply(error.code, error.text)
        }
        let settling = Settling(
            request, settlements, handled, shard, services.groups.clerk)
        // Records that are about to die have to be read first, which waits for the disk.
        if shard.dying(message.group, settlements).isEmpty {
            settling.takeAll()
        } else {
            settling.takeInPieces()
        }
    }
}

extension Coordinator.Settlement {
    init(_ entry: SettleEntry, at time: Int64) throws(GroupRefusal) {
        let verb: Verb
        switch entry.verb {
        case 1: verb = .ack
        case 2: verb = .nack(delayMilliseconds: entry.milliseconds)
        case 3: verb = .extend(milliseconds: Int32(clamping: entry.milliseconds))
        case 4: verb = .begin
        case 5: verb = .fail(entry.handlerFailure(.transient, at: time))
        case 6: verb = .fail(entry.handlerFailure(.permanent, at: time))
        case 7: verb = .fail(entry.handlerFailure(.rejected, at: time))
        case let other:
            throw .invalid(field: "verb", reason: "\(other) is not from 1 to 7")
        }
        guard let queue = QueueID(entry.topic, entry.partition, lane: entry.lane) else {
            throw .invalid(field: "lane", reason: "\(entry.lane) is not 0 or 1")
        }
        self.init(
            queue: queue, range: entry.range.offsets, number: entry.delivery, verb: verb)
    }
}

extension SettleEntry {
    fileprivate func handlerFailure(
        _ severity: HandlerFailure.Severity, at time: Int64
    ) -> HandlerFailure {
        HandlerFailure(severity, kind: failure, text: text, at: time)
    }
}

extension ReceiveReply {
    fileprivate init(_ grants: [QueueGrant]) {
        self.init()
        delivered = grants.map { grant in
            var item = DeliveredRange()
            item.topic = grant.queue.partition.topic
            item.partition = grant.queue.partition.partition
            item.lane = grant.queue.lane.rawValue
            item.range = OffsetRange(grant.range)
            item.delivery = grant.number
            item.attempts = UInt32(grant.attempts)
            item.isSuspect = grant.isSuspect
            return item
        }
    }
}
