import MartletFormat
import Synchronization

/// How long the handlers of a client ran that it called for one group. Members of the group in this
/// client share it: whoever commits or settles next tells the broker.
final class HandlerTimer: Sendable {
    private struct Times {
        /// Not told yet, and never taken to be told.
        var new = HandlerTimesByType()
        /// Taken to be told, in vain.
        var again = HandlerTimesByType()
        /// Taken to be told, each call once.
        var taken = HandlerTimesByType()
    }

    private let times = Mutex(Times())

    func add(nanoseconds: Int64, of record: ConsumedRecord) {
        let type = record.eventType ?? ""
        times.withLock { $0.new.add(nanoseconds: nanoseconds, type: type) }
    }

    /// What could not be told.
    func putBack(_ untold: HandlerTimesByType) {
        times.withLock { $0.again.add(untold) }
    }

    /// What is to be told.
    func take() -> HandlerTimesByType {
        times.withLock { times in
            times.taken.add(times.new)
            times.again.add(times.new)
            defer { (times.new, times.again) = (HandlerTimesByType(), HandlerTimesByType()) }
            return times.again
        }
    }

    /// All calls, told or not.
    var all: HandlerTimesByType {
        times.withLock { times in
            var all = times.taken
            all.add(times.new)
            return all
        }
    }
}

/// How long the handlers of a client ran, by groups.
final class HandlerTimeBook: Sendable {
    private let timers = Mutex<[String: HandlerTimer]>([:])

    func timer(of group: String) -> HandlerTimer {
        timers.withLock { timers in
            let timer = timers[group] ?? HandlerTimer()
            timers[group] = timer
            return timer
        }
    }

    func all(of group: String) -> HandlerTimesByType {
        timers.withLock { $0[group] }?.all ?? HandlerTimesByType()
    }
}

extension MartletClient {
    /// How long the handlers that this client called for a group ran since the client was made, by
    /// the type of event: what the header `type` of a record says, empty for records without one. Up
    /// to 20 types of up to 100 bytes are told apart; the others are `other`. What all members say
    /// together is in `GroupDescription.handlerTimeByType`.
    ///
    /// - Parameter group: its name.
    /// - Returns: one entry for each type; empty when no handler ran.
    public func handlerTimes(of group: String) -> [String: HandlerTimeSummary] {
        handlerTimeBook.all(of: group).lines.mapValues { HandlerTimeSummary($0) }
    }
}
