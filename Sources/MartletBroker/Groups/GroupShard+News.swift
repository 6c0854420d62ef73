import MartletFormat
import MartletGroups
import MartletWire

// What happens to groups is told to members whose heartbeats wait.
extension GroupShard {
    func tellNews(of group: String, _ state: inout State, _ effects: inout Effects) {
        let keys = state.parked.filter { key, heartbeat in
            key.group == group && heartbeat.request.message.news > 0
        }
        for (key, heartbeat) in keys {
            state.parked[key] = nil
            let request = heartbeat.request.message
            var reply = HeartbeatReply(unchanged: request)
            reply.add(state.coordinator, group, after: request.news)
            effects.told.append { [reply] failure in heartbeat.answer(reply, failure) }
        }
        if !keys.isEmpty { effects.end = state.end }
    }
}

extension HeartbeatReply {
    /// What is new of the group since the member was told so much; nothing when it wants none.
    mutating func add(_ coordinator: Coordinator, _ group: String, after told: UInt64) {
        news = told
        guard told > 0, coordinator.newsNumber(of: group) != told,
            let standing = coordinator.standing(of: group)
        else { return }
        (news, expired) = (standing.number, standing.expired)
        breaker = standing.breaker.number
        pauses = standing.paused.prefix(WireLimits.pausesMax).map {
            GroupPlace(topic: $0.topic, partition: $0.partition)
        }
        let known = Set(topics.map(\.topic)).union([.zero])
        let paused = Set(pauses.map(\.topic)).subtracting(known)
        topics += TopicNaming.all(Array(paused), coordinator.topicName)
    }
}
