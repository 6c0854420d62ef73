import MartletSystem

/// Asks again and again until it holds. False when that takes longer than `seconds`: the deadline
/// is only there to end a test that hangs; it says nothing about speed.
package func eventually(seconds: Int64 = 60, _ holds: () throws -> Bool) rethrows -> Bool {
    let clock = SystemClock()
    let end = clock.monotonicNanoseconds() + seconds * 1_000_000_000
    repeat {
        if try holds() { return true }
    } while clock.monotonicNanoseconds() < end
    return false
}
