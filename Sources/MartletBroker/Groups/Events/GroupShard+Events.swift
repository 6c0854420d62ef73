import MartletGroups
import MartletStorage
import MartletSystem
import Synchronization

// What happened is told to those who look at groups from outside.
extension GroupShard {
    /// With the moment, and with where `$groups` ended then.
    func dated(_ events: [GroupEvent], end: Int64) -> [GroupEvent] {
        let at = clock.wallMilliseconds()
        return events.map { event in
            var event = event
            (event.at, event.shard, event.number) = (at, log.partition, end - 1)
            return event
        }
    }

    /// Calls `then` when all that was recorded is on the disk, or never will be.
    func whenDurable(_ then: @escaping @Sendable () -> Void) {
        log.whenDurable(state.withLock { $0.end }, WhenDurable { _ in then() })
    }

    func tell(_ events: [GroupEvent], onceDurable end: Int64) {
        guard !events.isEmpty else { return }
        tell(onceDurable: end) { [herald] in herald.tell(events) }
    }

    /// What a crash would undo did not happen.
    func tell(onceDurable end: Int64, _ tell: @escaping @Sendable () -> Void) {
        guard !herald.tellsAtOnce else { return tell() }
        log.whenDurable(end, WhenDurable { failure in if failure == nil { tell() } })
    }
}
