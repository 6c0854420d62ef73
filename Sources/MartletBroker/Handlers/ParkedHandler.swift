import MartletFormat
import MartletGroups
import MartletSystem
import MartletTelemetry
import MartletWire

/// Records of groups that are set aside until somebody says so.
struct ParkedHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func list(_ request: Request<ListParkedRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let most = WireLimits.lettersMax
        let count = message.max == 0 ? most : min(Int(message.max), most)
        let partition = TopicPartition(message.topic, message.partition)
        let after = message.offset < 0 ? nil : RecordPlace(.flow(partition), message.offset)
        shard.run(request) { _, _ in
            []
        } _: { state, _ throws(GroupRefusal) in
            let page = try state.coordinator.parked(of: message.group, after: after, max: count)
            var reply = ListParkedReply()
            reply.records = page.lines.map { ParkedRecordLine($0) }
            reply.hasMore = page.hasMore
            return reply
        }
    }

    func release(_ request: Request<ReleaseParkedRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        guard !message.releasesAll || message.places.isEmpty else {
            return request.reply(.invalidRequest, "places: are named, and all are asked for")
        }
        let places = message.places.map {
            RecordPlace(.flow(TopicPartition($0.topic, $0.partition)), $0.offset)
        }
        let reply = Carried(ReleaseParkedReply())
        let logger = services.logger
        shard.run(request, by: request.person) { coordinator, _ throws(GroupRefusal) in
            reply.value = ReleaseParkedReply()
            if message.releasesAll {
                let outcome = try coordinator.releaseAll(message.group)
                reply.value.released = UInt32(clamping: outcome.count)
                return outcome.records
            }
            let outcome = try coordinator.release(message.group, places)
            reply.value.results = places.indices.map { CommitResult(outcome.refusals[$0]) }
            reply.value.released = UInt32(clamping: places.count - outcome.refusals.count)
            return outcome.records
        } _: { _, _ in
            logger.notice(
                "PARKED_RELEASED", "parked records were released by hand",
                [
                    ("group", LogValue(message.group)),
                    ("records", LogValue(Int64(reply.value.released))),
                ])
            return reply.value
        }
    }
}

extension ParkedRecordLine {
    fileprivate init(_ line: Coordinator.ParkedLine) {
        self.init()
        topic = line.place.partition.topic
        partition = line.place.partition.partition
        offset = line.place.offset
        parkedAt = line.record.at
        isKey = line.record.isKey
        attempts = line.attempts
        failure = line.trail?.last.kind ?? ""
        text = line.trail?.last.text ?? ""
    }
}
