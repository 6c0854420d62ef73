/// What members are told of their group beside their partitions: as it is, and not how it came about.
/// Records that expired are counted over the whole life of the group, so whoever remembers what he was
/// told last knows how many more there are.
package struct GroupStanding: Equatable, Sendable {
    /// Another one with each change, and none of an earlier start of the broker. Above 1.
    package let number: UInt64
    /// Records that retention or deletion took before they were handled, in the flow of a queue or
    /// of what was sent again, since the group was made.
    package let expired: Int64
    /// What stands still, in order.
    package let paused: [PausePlace]
    package let breaker: BreakerState
}

extension Coordinator {
    /// nil: there is no such group.
    package func standing(of name: String) -> GroupStanding? {
        guard let group = groups[name] else { return nil }
        return GroupStanding(
            number: newsNumber(of: name), expired: group.state.expired,
            paused: group.state.paused.keys.sorted(), breaker: group.state.breakerNow)
    }

    package func newsNumber(of name: String) -> UInt64 {
        groups[name]?.activity.news ?? firstNews
    }

    /// Groups of which there is something new that nobody has been told of.
    package mutating func takeNews() -> Set<String> {
        defer { withNews = [] }
        return withNews
    }

    /// What `note` has to know of the time before the record held.
    func expiredBefore(_ record: GroupRecord) -> Int64? {
        guard case .queue(let name, _, .expired) = record else { return nil }
        return groups[name]?.state.expired ?? 0
    }

    /// Takes note of a record that holds now.
    mutating func note(_ record: GroupRecord, expiredBefore: Int64?) {
        switch record {
        case .created(let name, _, _, _), .paused(let name, _, _), .resumed(let name, _),
            .policy(let name, _), .breaker(let name, _):
            noteNews(name)
        case .queue(let name, _, .expired):
            if groups[name]?.state.expired != expiredBefore { noteNews(name) }
        case .deleted, .joined, .left, .departed, .granted, .freed, .committed, .forgotten, .reset,
            .restarted, .suspected, .queue, .letter, .expired:
            break
        }
    }

    private mutating func noteNews(_ name: String) {
        let number = newRevision()
        groups[name]?.activity.news = number
        withNews.insert(name)
    }
}
