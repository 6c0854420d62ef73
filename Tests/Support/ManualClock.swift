import MartletSystem
import Synchronization

/// A clock that stands still until the test moves it.
package final class ManualClock: Clock {
    private struct Timer {
        let deadline: Int64
        let fire: @Sendable () -> Void
    }

    private struct State {
        var monotonic: Int64
        var wall: Int64
        var timers: [Timer] = []
    }

    // `wall` counts nanoseconds too, so that small steps add up.
    private let state: Mutex<State>

    package init(
        monotonicNanoseconds: Int64 = 1_000_000_000, wallMilliseconds: Int64 = 1_700_000_000_000
    ) {
        state = Mutex(State(monotonic: monotonicNanoseconds, wall: wallMilliseconds * 1_000_000))
    }

    package func monotonicNanoseconds() -> Int64 { state.withLock { $0.monotonic } }

    package func wallMilliseconds() -> Int64 { state.withLock { $0.wall / 1_000_000 } }

    /// Moves both clocks on. Timers on the way fire at their own instant, in order.
    package func advance(nanoseconds: Int64) {
        let end = state.withLock { $0.monotonic } + nanoseconds
        while let timer = takeTimer(until: end) { timer.fire() }
        state.withLock { Self.move(&$0, to: end) }
    }

    package func advance(milliseconds: Int64) {
        advance(nanoseconds: milliseconds * 1_000_000)
    }

    package func advance(seconds: Int64) {
        advance(nanoseconds: seconds * 1_000_000_000)
    }

    /// Moves on to the next timer and fires it; false when there is none.
    package func advanceToNextTimer() -> Bool {
        guard let timer = takeTimer(until: .max) else { return false }
        timer.fire()
        return true
    }

    /// Sets the wall clock alone, also back.
    package func setWall(milliseconds: Int64) {
        state.withLock { $0.wall = milliseconds * 1_000_000 }
    }

    /// Instant of the next timer, if one is set.
    package var nextDeadline: Int64? {
        state.withLock { $0.timers.first?.deadline }
    }

    /// Calls `fire` once the clock has moved on by so much.
    package func schedule(after nanoseconds: Int64, _ fire: @escaping @Sendable () -> Void) {
        state.withLock { state in
            let deadline = state.monotonic + max(0, nanoseconds)
            let timer = Timer(deadline: deadline, fire: fire)
            // After those of the same instant: they fire in the order in which they were set.
            let place = state.timers.firstIndex { $0.deadline > deadline }
            state.timers.insert(timer, at: place ?? state.timers.count)
        }
    }

    /// Lets go of the timers that wait, and of what they hold.
    package func forgetTimers() {
        // What goes with them may set timers of its own: not under the lock.
        _ = state.withLock { state in
            let forgotten = state.timers
            state.timers = []
            return forgotten
        }
    }

    private func takeTimer(until end: Int64) -> Timer? {
        state.withLock { state in
            guard let first = state.timers.first, first.deadline <= end else { return nil }
            state.timers.removeFirst()
            Self.move(&state, to: first.deadline)
            return first
        }
    }

    private static func move(_ state: inout State, to instant: Int64) {
        let step = instant - state.monotonic
        if step <= 0 { return }
        state.monotonic += step
        state.wall += step
    }
}
