/// Records of queues whose handlers never say what became of them: they end their process, or hang
/// until the lease is over. Each start counts, and the last one that the policy allows is the end:
/// nobody is handed the record again, and the policy decides as if a handler had failed.
///
/// The rule needs nothing but what survives a restart: how often handlers began, and that nothing
/// was said since the last of them did. It is held against each record at the one place where
/// records are handed out. There the broker takes such a record itself, as a member would, so it
/// is in flight while it is read and decided, and ready again should the broker be too slow.
extension Coordinator {
    /// What the broker is to settle in place of a handler.
    package struct Abandoned: Sendable {
        package let group: String
        package let settlement: Settlement
    }

    /// The next one; what cannot be settled is found again with one of the next receives.
    package mutating func nextAbandoned() -> Abandoned? {
        abandoned.isEmpty ? nil : abandoned.removeFirst()
    }

    /// So many wait at once; the others stay ready until it is their turn.
    static let abandonedMax = 100
    /// Time to read a record and to keep it.
    private static let decisionMilliseconds: Int32 = 60_000

    mutating func abandon(
        _ name: String, _ place: RecordPlace, _ leases: inout QueueLeases, at now: Now
    ) {
        let range = place.offset..<(place.offset + 1)
        let holder = leases.holders(of: range).first { $0 != .nobody }
        var lease = QueueLease(
            range: range, member: .nobody, number: nextDelivery(),
            deadline: now.plus(milliseconds: Self.decisionMilliseconds))
        // No start of its own.
        lease.hasBegun = true
        leases.lease(range, lease)
        expect(lease.deadline)
        let failure = failure(name, holder, at: now)
        abandoned.append(
            Abandoned(
                group: name,
                settlement: Settlement(
                    queue: place.queue, range: range, number: lease.number,
                    verb: .abandoned(failure, holder: holder))))
    }

    private func failure(_ name: String, _ holder: MemberID?, at now: Now) -> HandlerFailure {
        let (kind, text) =
            switch holder {
            case nil: ("NoOutcome", "its handler began, and nobody said what became of it")
            case .some(let holder) where groups[name]?.state.members[holder] == nil:
                ("MemberGone", "its handler began, and its member went without a word")
            case .some: ("LeaseRanOut", "its handler began, and its lease ran out")
            }
        return HandlerFailure(.transient, kind: kind, text: text, at: now.wall)
    }
}

extension Coordinator.Settlement.Verb {
    /// What the handler failed with.
    package var failure: HandlerFailure? {
        switch self {
        case .fail(let failure), .abandoned(let failure, _): failure
        case .ack, .nack, .extend, .begin: nil
        }
    }

    var isAbandoned: Bool {
        switch self {
        case .abandoned: true
        case .ack, .nack, .extend, .begin, .fail: false
        }
    }
}
