// `timespec` reaches release builds through the shim's headers.
import CMartletShim
import Glibc

/// The clocks of the machine.
package struct SystemClock: Clock {
    package init() {}

    package func monotonicNanoseconds() -> Int64 {
        Self.nanoseconds(CLOCK_MONOTONIC)
    }

    package func bootNanoseconds() -> Int64 { Self.nanoseconds(CLOCK_BOOTTIME) }

    package func wallMilliseconds() -> Int64 {
        let time = Self.read(CLOCK_REALTIME)
        return Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
    }

    private static func nanoseconds(_ clock: CInt) -> Int64 {
        let time = read(clock)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }

    private static func read(_ clock: CInt) -> timespec {
        var time = timespec()
        // Cannot fail: the clocks exist on every Linux and the address is ours.
        _ = unsafe clock_gettime(clock, &time)
        return time
    }
}
