import MartletFormat
import MartletGroups

/// Events on their way into the topic. What happens over and over, to one record after the other, is one
/// event that counts, so that a storm of it stays a few records; and there are never more than so many.
package struct PendingEvents {
    package struct Limits: Sendable {
        /// All of them, and of one group; a partition that an event lists weighs as much as an event.
        package var weightMax = 20_000
        package var groupWeightMax = 2_000
        /// That one event lists. It counts the others.
        package var partitionsMax = 1_000
    }

    /// What is alike but for its records.
    fileprivate struct Likeness: Hashable {
        let kind: GroupEvent.Kind
        let group: String
        let by: GroupEvent.Actor
        let client: String
        let member: MemberID?
        let topic: TopicID?
        /// Of what names records.
        let partition: Int32?
        let reason: String
    }

    private let limits: Limits
    private(set) var events: [GroupEvent] = []
    private var places: [Likeness: Int] = [:]
    private var weights: [String: Int] = [:]
    private var weight = 0

    init(_ limits: Limits) { self.limits = limits }

    var isEmpty: Bool { events.isEmpty }

    /// False: there is no room for it.
    mutating func add(_ event: GroupEvent) -> Bool {
        guard let likeness = Likeness(event) else { return append(event) }
        if let place = places[likeness] {
            merge(event, into: place)
            return true
        }
        guard append(event) else { return false }
        places[likeness] = events.count - 1
        return true
    }

    private mutating func append(_ event: GroupEvent) -> Bool {
        let most = limits.groupWeightMax
        guard weight < limits.weightMax, weights[event.group, default: 0] < most else {
            return false
        }
        var event = event
        event.partitions = Array(event.partitions.prefix(limits.partitionsMax))
        events.append(event)
        weigh(event.group, 1 + event.partitions.count)
        return true
    }

    private mutating func weigh(_ group: String, _ more: Int) {
        weight += more
        weights[group, default: 0] += more
    }

    private mutating func merge(_ event: GroupEvent, into place: Int) {
        events[place].count = (events[place].count ?? 0) &+ (event.count ?? 0)
        if let from = event.from { events[place].from = min(events[place].from ?? from, from) }
        if let to = event.to { events[place].to = max(events[place].to ?? to, to) }
        guard event.kind.subject == .partitions, weight < limits.weightMax else { return }
        let room = max(0, limits.partitionsMax - events[place].partitions.count)
        let more = event.partitions.prefix(room)
        events[place].partitions += more
        weigh(event.group, more.count)
    }

    /// All of them, in the order in which they were recorded. Threads may bring them in another one.
    var inOrder: [GroupEvent] {
        events.enumerated().sorted { left, right in
            let (first, second) = (left.element, right.element)
            return (first.at, first.shard, first.number, left.offset)
                < (second.at, second.shard, second.number, right.offset)
        }.map(\.element)
    }
}

extension PendingEvents.Likeness {
    /// nil: each of the kind stands for itself.
    fileprivate init?(_ event: GroupEvent) {
        switch event.kind.subject {
        case .group: return nil
        case .partitions: partition = nil
        case .records: partition = event.partitions.first
        }
        kind = event.kind
        group = event.group
        by = event.by
        client = event.client
        member = event.member
        topic = event.topic
        reason = event.reason
    }
}
