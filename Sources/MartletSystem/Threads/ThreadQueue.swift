import Synchronization

/// An executor with one thread of its own, for jobs that wait for the disk.
///
/// A serial Dispatch queue needs a new thread whenever it is woken while every thread of the pool is
/// at work or just about to go to sleep, and the pool keeps each for seconds. A dozen busy queues
/// were seen to hold 28 threads so. Here the number of threads is the number of queues.
package final class ThreadQueue: Executor, Sendable {
    package typealias Job = @Sendable () -> Void

    /// What the thread holds, so that it does not keep its owner.
    private final class Mailbox: Sendable {
        struct State {
            var jobs: [Job] = []
            var isAsleep = false
            var isEnding = false
        }

        let state = Mutex(State())
        let bell = Semaphore()

        /// Changes the state, and wakes the thread when it sleeps.
        func post(_ change: (inout State) -> Void) {
            let wakes = state.withLock { state in
                change(&state)
                defer { state.isAsleep = false }
                return state.isAsleep
            }
            if wakes { bell.signal() }
        }

        /// The thread: every job that was given is run, also at the end.
        func run() {
            while true {
                let (jobs, isEnding) = state.withLock { state in
                    let jobs = state.jobs
                    state.jobs = []
                    state.isAsleep = jobs.isEmpty && !state.isEnding
                    return (jobs, state.isEnding)
                }
                for job in jobs { job() }
                if jobs.isEmpty {
                    if isEnding { return }
                    bell.wait()
                }
            }
        }
    }

    package let label: String
    private let mailbox = Mailbox()

    /// Starts the thread, which ends when nobody holds the queue any more and all its jobs have run.
    package init(label: String) {
        self.label = label
        DetachedThread.start(label) { [mailbox] in mailbox.run() }
    }

    deinit { mailbox.post { $0.isEnding = true } }

    package func execute(_ job: @escaping Job) {
        mailbox.post { $0.jobs.append(job) }
    }

    package func execute(after nanoseconds: Int64, _ job: @escaping Job) {
        Timers.give(job, to: self, after: nanoseconds)
    }
}
