/// Time as a value to inject.
package protocol Clock: Sendable {
    /// Nanoseconds that never go back and do not follow the wall clock.
    func monotonicNanoseconds() -> Int64
    /// The same, with the time in which the machine slept: how old something is for others, too.
    func bootNanoseconds() -> Int64
    /// Milliseconds since 1970-01-01T00:00:00Z; may jump.
    func wallMilliseconds() -> Int64
}

extension Clock {
    package func bootNanoseconds() -> Int64 { monotonicNanoseconds() }
}
