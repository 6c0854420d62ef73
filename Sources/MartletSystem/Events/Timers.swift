import Synchronization

/// Gives jobs to executors when their time has come. On a thread of its own, since those of the
/// executors may be waiting for sockets or the disk; it is there from the first use on, so that no
/// timer has to ask the system for one.
enum Timers {
    private static let thread = TimerThread()

    static func give(
        _ job: @escaping @Sendable () -> Void, to executor: any Executor, after nanoseconds: Int64
    ) {
        thread.add(after: nanoseconds) { executor.execute(job) }
    }
}

private final class TimerThread: Sendable {
    private struct State {
        var timers = TimerHeap()
        /// When the thread wakes by itself; in the past while it is awake.
        var sleepsUntil = Int64.min
    }

    private let state = Mutex(State())
    private let nap = Nap()
    private let clock = SystemClock()

    /// Starts the thread, which stays.
    init() {
        DetachedThread.start("martlet.timers") { self.run() }
    }

    func add(after nanoseconds: Int64, _ job: @escaping TimerHeap.Job) {
        let due = TimerHeap.due(nanoseconds, after: clock.monotonicNanoseconds())
        let wakes = state.withLock { state in
            state.timers.push(due: due, job)
            return due < state.sleepsUntil
        }
        if wakes { nap.wake() }
    }

    private func run() {
        while true {
            let now = clock.monotonicNanoseconds()
            while let job = state.withLock({ $0.timers.pop(now: now) }) { job() }
            let due = state.withLock { state in
                state.sleepsUntil = state.timers.nextDue
                return state.sleepsUntil
            }
            nap.sleep(until: due)
            state.withLock { $0.sleepsUntil = .min }
        }
    }
}
