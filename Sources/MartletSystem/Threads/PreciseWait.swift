import CMartletShim
import Glibc

/// Waiting to the microsecond, for measurements: a timer alone wakes some microseconds late. Holds its
/// thread, but as little of the processor as it can: what is measured needs that, too.
package enum PreciseWait {
    /// Where the timer's wake-up ends and the look at the clock begins.
    private static let spinNanoseconds: Int64 = 20_000

    /// Returns when `SystemClock` shows this time or a later one.
    package static func until(monotonicNanoseconds deadline: Int64) {
        let clock = SystemClock()
        let sleepEnd = deadline - spinNanoseconds
        if clock.monotonicNanoseconds() < sleepEnd {
            martlet_exact_timers()
            var time = timespec()
            time.tv_sec = time_t(sleepEnd / 1_000_000_000)
            time.tv_nsec = Int(sleepEnd % 1_000_000_000)
            // Ends early when a signal comes; the loop below sees to the rest.
            _ = unsafe clock_nanosleep(CLOCK_MONOTONIC, CInt(TIMER_ABSTIME), &time, nil)
        }
        while clock.monotonicNanoseconds() < deadline {}
    }
}
