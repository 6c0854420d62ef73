import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import Synchronization

/// Names groups before retention takes what they have not handled: in the log and in `$group-events`,
/// once for each topic of a group, and again when it gets worse or is over.
///
/// What was told is in memory only: a broker that is started tells it again.
final class HeadroomWatch: Sendable {
    private struct Place: Hashable {
        let group: String
        let topic: TopicID
    }

    private struct State {
        var told: [Place: Headroom.Level] = [:]
        var isStopped = false
    }

    private static let pauseNanoseconds: Int64 = 60_000_000_000

    private let groups: GroupService
    private let lag: GroupLag
    private let state = Mutex(State())

    init(_ groups: GroupService, _ lag: GroupLag) {
        self.groups = groups
        self.lag = lag
    }

    /// Looks once a minute from now on.
    func start() {
        groups.setup.disk.execute(after: Self.pauseNanoseconds) { [weak self] in
            guard let self, !state.withLock({ $0.isStopped }) else { return }
            look()
            start()
        }
    }

    /// Nothing is told any more.
    func stop() { state.withLock { $0.isStopped = true } }

    /// From memory alone: others wait for this executor, and what is in the oldest segments, which
    /// retention takes next, retention has looked up itself.
    func look() {
        var found: [Place: Headroom] = [:]
        var names: Set<String> = []
        for group in groups.descriptions {
            names.insert(group.name)
            let lines = group.partitions.map { lag.line(group.name, $0, mayBlock: false) }
            for shortage in lag.shortages(lines) {
                found[Place(group: group.name, topic: shortage.topic)] = shortage
            }
        }
        // Under the lock, so that nothing is told after the stop.
        state.withLock { state in
            guard !state.isStopped else { return }
            groups.herald.tell(changes(&state, found, of: names).sorted { $0.group < $1.group })
        }
    }

    private func changes(
        _ state: inout State, _ found: [Place: Headroom], of names: Set<String>
    ) -> [GroupEvent] {
        var events: [GroupEvent] = []
        for (place, shortage) in found {
            guard state.told[place].map({ $0 < shortage.level }) ?? true else { continue }
            state.told[place] = shortage.level
            events.append(event(place, shortage))
        }
        for place in state.told.keys where found[place] == nil {
            state.told[place] = nil
            // Of a group that is gone there is nothing more to say.
            if names.contains(place.group) {
                events.append(event(.headroomBack, place))
            }
        }
        return events
    }

    private func event(_ place: Place, _ shortage: Headroom) -> GroupEvent {
        let kind: GroupEvent.Kind =
            switch shortage.level {
            case .low: .headroomLow
            case .critical: .headroomCritical
            }
        var event = event(kind, place)
        event.partitions = shortage.partitions
        event.count = shortage.records
        event.reason = shortage.cause.rawValue
        event.to =
            switch shortage.cause {
            case .age: event.at.addingReportingOverflow(shortage.left).partialValue
            case .size: shortage.left
            }
        return event
    }

    private func event(_ kind: GroupEvent.Kind, _ place: Place) -> GroupEvent {
        var event = GroupEvent(kind, place.group, by: .broker)
        event.at = lag.wallMilliseconds
        event.topic = place.topic
        event.topicName = lag.engine.topic(id: place.topic)?.name
        return event
    }
}
