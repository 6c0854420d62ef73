import MartletFormat
import Synchronization

/// How long handlers ran since that was last told.
final class HandlerTimer: Sendable {
    private let times = Mutex(HandlerTimes())

    func add(nanoseconds: Int64) {
        times.withLock { $0.add(nanoseconds: nanoseconds) }
    }

    /// What could not be told.
    func add(_ untold: HandlerTimes) {
        times.withLock { $0.add(untold) }
    }

    func take() -> HandlerTimes {
        times.withLock { times in
            defer { times = HandlerTimes() }
            return times
        }
    }
}
