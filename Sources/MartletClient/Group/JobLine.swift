import Synchronization

/// Asynchronous jobs that run one after the other, in the order in which they came.
final class JobLine: Sendable {
    typealias Job = @Sendable () async -> Void

    private struct State {
        var jobs = Fifo<Job>()
        var waiter: Promise<Void>?
        var isFinished = false
    }

    private let state = Mutex(State())

    func add(_ job: @escaping Job) {
        let waiter = state.withLock { state in
            if !state.isFinished { state.jobs.append(job) }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.succeed(())
    }

    /// No more jobs are taken; those that are there still run.
    func finish() {
        let waiter = state.withLock { state in
            state.isFinished = true
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.succeed(())
    }

    /// Runs the jobs until `finish`. To be called once.
    func run() async {
        while true {
            let promise = Promise<Void>()
            let (job, isFinished) = state.withLock { state -> (Job?, Bool) in
                if let job = state.jobs.popFirst() { return (job, false) }
                if !state.isFinished { state.waiter = promise }
                return (nil, state.isFinished)
            }
            if let job {
                await job()
            } else if isFinished {
                return
            } else {
                await promise.settled()
            }
        }
    }
}
