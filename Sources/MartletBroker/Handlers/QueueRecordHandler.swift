import MartletFormat
import MartletGroups
import MartletWire

/// Where the records of queue groups are, for people.
extension QueueHandler {
    func list(_ request: Request<ListQueueRecordsRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let bounds = self.bounds
        shard.run(request) { _, _ in
            []
        } _: { state, now throws(GroupRefusal) in
            let query = try Coordinator.RecordQuery(message)
            let page = try state.coordinator.records(
                of: message.group, query, bounds: bounds, at: now)
            var reply = ListQueueRecordsReply()
            reply.records = page.runs.map { QueueRecordLine($0) }
            reply.next = page.next.map { QueuePlace($0) } ?? QueuePlace()
            return reply
        }
    }
}

extension Coordinator.RecordQuery {
    fileprivate init(_ message: ListQueueRecordsRequest) throws(GroupRefusal) {
        self.init()
        guard message.states < 1 << Coordinator.RecordState.allCases.count else {
            throw .invalid(field: "states", reason: "\(message.states) has unknown ones")
        }
        if message.states > 0 {
            states = states.filter { message.states & (1 << $0.rawValue) != 0 }
        }
        topic = message.topic == .zero ? nil : message.topic
        let most = WireLimits.lettersMax
        runsMax = message.max == 0 ? most : min(Int(clamping: message.max), most)
        let from = message.from
        guard from.offset >= 0 else { return }
        guard let lane = QueueID.Lane(rawValue: from.lane) else {
            throw .invalid(field: "lane", reason: "\(from.lane) is none")
        }
        place = RecordPlace(
            QueueID(TopicPartition(from.topic, from.partition), lane), from.offset)
    }
}

extension QueuePlace {
    fileprivate init(_ place: RecordPlace) {
        self.init()
        (topic, partition) = (place.partition.topic, place.partition.partition)
        (lane, offset) = (place.queue.lane.rawValue, place.offset)
    }
}

extension QueueRecordLine {
    fileprivate init(_ run: Coordinator.RecordRun) {
        self.init()
        (topic, partition) = (run.queue.partition.topic, run.queue.partition.partition)
        (lane, from, to) = (run.queue.lane.rawValue, run.range.lowerBound, run.range.upperBound)
        (state, attempts) = (run.state.rawValue, run.attempts)
        (member, at) = (run.member?.bits ?? .zero, run.at ?? -1)
        (failure, text) = (run.failure?.kind ?? "", run.failure?.text ?? "")
    }
}
