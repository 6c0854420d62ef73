/// Runs jobs one after the other, off the caller's thread (or when a test says so).
///
/// Modules below the broker must not import Dispatch; they are handed executors instead.
package protocol Executor: Sendable {
    /// Runs `job` soon, after every job given earlier to the same executor.
    func execute(_ job: @escaping @Sendable () -> Void)
    /// Runs `job` once `nanoseconds` have passed on the monotonic clock.
    func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void)
}
