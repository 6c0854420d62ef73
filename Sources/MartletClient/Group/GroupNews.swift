import MartletFormat
import MartletWire

/// What happens to a group as a whole, as its members hear it with their heartbeats, within moments.
///
/// A member is told how the group is, not each step: a pause that is over before the member could hear
/// of it, because it was not connected, is not told. What stands still when it joins is told as if it
/// had just begun. Records that expired are counted from the join on, each once, also over lost
/// connections, new sessions and restarts of the broker.
public enum GroupNews: Sendable, Equatable {
    /// So many more records were taken by retention or deletion before any member had handled them,
    /// in all partitions: of a queue's flow, and of what was sent to a group of any kind again. They
    /// are lost to the group, and no dead letters. What a stream group misses in its flow is told as
    /// `GroupEvent.reset`.
    case expired(records: Int64)
    /// The part stands still until it is resumed, by a person or by the group's failure policy. nil: the
    /// whole group.
    case paused(GroupPart?)
    /// The part goes on, as far as nothing wider is paused. nil: the whole group.
    case resumed(GroupPart?)
    /// The group's breaker lets so much through now.
    case breaker(GroupBreaker.State)
}

/// What a member was told of its group, and what it is told next.
struct NewsReader {
    private struct Place: Hashable {
        let topic: TopicID
        let partition: Int32
    }

    /// As the heartbeat names it; 1: nothing was told yet.
    private(set) var number: UInt64 = 1
    /// nil: what expired before is nothing to this member.
    private var expired: Int64?
    private var paused: [Place: GroupPart?] = [:]
    private var breaker = GroupBreaker.State.closed

    /// What has changed by an answer to a heartbeat.
    mutating func read(_ reply: HeartbeatReply) -> [GroupNews] {
        guard reply.news > 1, reply.news != number else { return [] }
        number = reply.news
        return readExpired(max(0, reply.expired)) + readPauses(reply) + readBreaker(reply.breaker)
    }

    /// Less than before: the group was made again.
    private mutating func readExpired(_ records: Int64) -> [GroupNews] {
        defer { expired = records }
        guard let expired, records > expired else { return [] }
        return [.expired(records: records - expired)]
    }

    private mutating func readPauses(_ reply: HeartbeatReply) -> [GroupNews] {
        let names = Dictionary(
            reply.topics.map { ($0.topic, $0.name) }, uniquingKeysWith: { first, _ in first })
        let before = paused
        paused = [:]
        for place in reply.pauses {
            let part =
                place.topic == .zero
                ? nil
                : GroupPart(
                    names[place.topic] ?? "", place.partition < 0 ? nil : place.partition)
            let key = Place(topic: place.topic, partition: place.partition)
            paused.updateValue(before[key] ?? part, forKey: key)
        }
        let over = before.filter { paused[$0.key] == nil }.map { GroupNews.resumed($0.value) }
        let begun = paused.filter { before[$0.key] == nil }.map { GroupNews.paused($0.value) }
        return over + begun
    }

    private mutating func readBreaker(_ number: UInt8) -> [GroupNews] {
        guard let state = GroupBreaker.State(number: number), state != breaker else { return [] }
        breaker = state
        return [.breaker(state)]
    }
}
