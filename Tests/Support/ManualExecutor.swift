import MartletSystem
import Synchronization

/// An executor whose jobs run when, and in the thread where, the test says so.
package final class ManualExecutor: Executor {
    package let label: String
    private let clock: ManualClock
    private let jobs = Mutex<[@Sendable () -> Void]>([])

    package init(clock: ManualClock, label: String = "manual") {
        self.clock = clock
        self.label = label
    }

    package func execute(_ job: @escaping @Sendable () -> Void) {
        jobs.withLock { $0.append(job) }
    }

    package func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void) {
        clock.schedule(after: nanoseconds) { self.execute(job) }
    }

    /// Lets go of the jobs that wait, and of what they hold.
    package func forgetJobs() {
        // What goes with them may have jobs of its own to give: not under the lock.
        _ = jobs.withLock { jobs in
            let forgotten = jobs
            jobs = []
            return forgotten
        }
    }

    package var pendingCount: Int { jobs.withLock { $0.count } }

    /// Runs the oldest job; false when there is none.
    @discardableResult
    package func runOne() -> Bool {
        let job = jobs.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        guard let job else { return false }
        job()
        return true
    }

    /// Runs jobs, also those that they add, until none is left; returns how many ran.
    ///
    /// Stops after `limit`: jobs that add themselves for ever are a mistake the test should see.
    @discardableResult
    package func runAll(limit: Int = 1_000_000) -> Int {
        Self.runAll([self], limit: limit)
    }

    /// Runs the jobs of several executors in turns until none has one left.
    @discardableResult
    package static func runAll(_ executors: [ManualExecutor], limit: Int = 1_000_000) -> Int {
        var count = 0
        while count < limit {
            var didRun = false
            for executor in executors where executor.runOne() {
                didRun = true
                count += 1
            }
            if !didRun { break }
        }
        return count
    }

    /// The same in an order that the seed chooses: each executor keeps its own order only.
    @discardableResult
    package static func runAll(
        _ executors: [ManualExecutor], random: inout SeededRandom, limit: Int = 1_000_000
    ) -> Int {
        var count = 0
        while count < limit {
            let ready = executors.filter { $0.pendingCount > 0 }
            if ready.isEmpty { break }
            if ready[random.below(ready.count)].runOne() { count += 1 }
        }
        return count
    }
}
