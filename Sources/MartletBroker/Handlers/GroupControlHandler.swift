import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import MartletWire

/// What people do to a group while it runs.
extension GroupHandler {
    func pause(_ request: Request<PauseGroupRequest>) {
        let message = request.message
        let places =
            message.places.isEmpty
            ? [PausePlace.group]
            : message.places.map { PausePlace(topic: $0.topic, partition: $0.partition) }
        let logger = services.logger
        run(request, message.group, by: request.person) { coordinator, now throws(GroupRefusal) in
            message.isPaused
                ? try coordinator.pause(message.group, places, at: now)
                : try coordinator.resume(message.group, places)
        } _: {
            logger.notice(
                message.isPaused ? "GROUP_PAUSED" : "GROUP_RESUMED",
                message.isPaused ? "a group stands still" : "a group goes on",
                [("group", LogValue(message.group)), ("places", LogValue(places.count))])
            return PauseGroupReply()
        }
    }

    /// Offsets are held to the logs as they are now; what that changes is told.
    func reset(_ request: Request<ResetGroupRequest>) {
        let message = request.message
        var resets: [Coordinator.Reset] = []
        var reply = ResetGroupReply()
        for entry in message.entries {
            guard let topic = services.engine.topic(id: entry.topic), !topic.isInternal else {
                return request.reply(.unknownTopicID)
            }
            guard let view = topic.partition(entry.partition)?.view else {
                return request.reply(.unknownPartition)
            }
            let offset = min(max(entry.offset, view.logStart), view.highWatermark)
            resets.append(
                Coordinator.Reset(
                    partition: TopicPartition(entry.topic, entry.partition),
                    expected: entry.expected, offset: offset))
            reply.results.append(ResetResult(offset: offset, isClamped: offset != entry.offset))
        }
        let (plan, answer, services) = (resets, reply, services)
        run(request, message.group, by: request.person) { coordinator, now throws(GroupRefusal) in
            try coordinator.reset(message.group, plan, isForced: message.isForced, at: now)
        } _: {
            services.metrics.groupResets.add(plan.count)
            services.logger.notice(
                "GROUP_RESET", "how far a group is was set by hand",
                [
                    ("group", LogValue(message.group)), ("partitions", LogValue(plan.count)),
                    ("forced", LogValue(message.isForced ? 1 : 0)),
                ])
            return answer
        }
    }
}
