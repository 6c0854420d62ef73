import MartletFormat
import MartletGroups
import MartletTelemetry
import MartletWire

/// What people send to a group again.
extension QueueHandler {
    func replay(_ request: Request<ReplayRecordsRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let ranges = message.partitions.reduce(0) { $0 + $1.ranges.count }
        guard ranges <= WireLimits.replayRangesMax else {
            return request.reply(
                .invalidRequest,
                "partitions: \(ranges) ranges are more than \(WireLimits.replayRangesMax)")
        }
        let replays = message.partitions.map { Coordinator.Replay($0) }
        let bounds = self.bounds
        let logger = services.logger
        let count = Carried<Int64>(0)
        shard.run(request, by: request.person) { coordinator, _ throws(GroupRefusal) in
            let outcome = try coordinator.replayRecords(message.group, replays, bounds: bounds)
            count.value = outcome.count
            return outcome.records
        } _: { _, _ in
            logger.notice(
                "RECORDS_REPLAYED", "records were sent to a group again by hand",
                [("group", LogValue(message.group)), ("records", LogValue(count.value))])
            var reply = ReplayRecordsReply()
            reply.records = count.value
            return reply
        }
    }

    func cancel(_ request: Request<CancelReplayRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let partitions = message.partitions.map { TopicPartition($0.topic, $0.partition) }
        let logger = services.logger
        let count = Carried<Int64>(0)
        shard.run(request, by: request.person) { coordinator, _ throws(GroupRefusal) in
            let outcome = try coordinator.cancelReplays(message.group, partitions)
            count.value = outcome.count
            return outcome.records
        } _: { _, _ in
            logger.notice(
                "REPLAY_CANCELLED", "what was sent to a group again was taken back by hand",
                [("group", LogValue(message.group)), ("records", LogValue(count.value))])
            var reply = CancelReplayReply()
            reply.records = count.value
            return reply
        }
    }
}

extension Coordinator.Replay {
    /// Ranges as they came: what is no range is empty, and refused; what lies below 0 is refused as
    /// out of the log, before anybody counts it.
    fileprivate init(_ item: ReplayPartition) {
        self.init(
            TopicPartition(item.topic, item.partition),
            item.ranges.map { $0.from..<max($0.from, $0.to) })
    }
}

extension ReplayLine {
    init(_ counts: ReplayCounts) {
        self.init()
        topic = counts.partition.topic
        partition = counts.partition.partition
        sent = counts.sent
        acked = counts.acked
        inFlight = counts.inFlight
        ready = counts.ready
        delayed = counts.delayed
        expired = counts.expired
        dead = counts.dead
    }
}
