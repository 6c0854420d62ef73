import Dispatch

/// Gives jobs to executors when their time has come. On a queue of its own, since the threads of
/// the executors may be waiting for sockets or the disk.
enum Timers {
    private static let queue = DispatchQueue(label: "martlet.timers", qos: .userInitiated)

    static func give(
        _ job: @escaping @Sendable () -> Void, to executor: any Executor, after nanoseconds: Int64
    ) {
        let delay = Int(clamping: max(0, nanoseconds))
        queue.asyncAfter(deadline: .now() + .nanoseconds(delay)) { executor.execute(job) }
    }
}
