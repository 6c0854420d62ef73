/// Groups that nobody comes back to: they go, with their offsets, when a broker is told to let them.
extension Coordinator {
    /// The wall clock may be set meanwhile, and what holds a group may end: looked at again then.
    private static let lookMilliseconds: (waiting: Int64, held: Int32) = (3_600_000, 60_000)

    mutating func expireGroups(_ records: inout [GroupRecord], at now: Now) {
        guard limits.groupExpiryMilliseconds >= 0 else { return }
        for (name, group) in groups {
            guard let since = group.state.emptySince, !group.state.isNamed else { continue }
            guard expectExpiry(since, now) else { continue }
            guard mayExpire(group.state) else {
                expect(now.plus(milliseconds: Self.lookMilliseconds.held))
                continue
            }
            records.append(.deleted(group: name))
        }
    }

    /// A group may have become empty just now.
    mutating func expectExpiry(of name: String, at now: Now) {
        guard limits.groupExpiryMilliseconds >= 0, let state = groups[name]?.state,
            let since = state.emptySince, !state.isNamed
        else { return }
        if expectExpiry(since, now) { expect(now.monotonic) }
    }

    /// Whether its time is over.
    private mutating func expectExpiry(_ since: Int64, _ now: Now) -> Bool {
        let (due, overflow) = since.addingReportingOverflow(limits.groupExpiryMilliseconds)
        guard overflow || due > now.wall else { return true }
        let (left, isFar) = due.subtractingReportingOverflow(now.wall)
        let wait = overflow || isFar ? .max : left
        let look = Int32(clamping: min(wait, Self.lookMilliseconds.waiting))
        expect(now.plus(milliseconds: look))
        return false
    }

    /// Nobody is in the group, and nothing of it waits to be done by anybody: no dead letters, no
    /// parked records, nothing that was sent again. Nobody has set anything of it by hand, and no
    /// records are kept for it that would go unread.
    private func mayExpire(_ state: GroupState) -> Bool {
        guard state.members.isEmpty, state.letters.letters.isEmpty, state.letters.waiting.isEmpty,
            state.openLanes.isEmpty, state.paused.isEmpty, state.policy == FailurePolicy(),
            state.queues.values.allSatisfy(\.parked.isEmpty)
        else { return false }
        return !topics.values.contains { $0.isUntilConsumed && state.isWaited(for: $0) }
    }
}
