import MartletSystem
import Synchronization

/// The queues that may wait for the disk.
///
/// Reads of records take long and come in any number, so they wait in one line, and a queue takes
/// one of them at a time: whatever else is asked of a queue waits for one read, and not for all.
final class ReaderPool: Sendable {
    private typealias Job = @Sendable () -> Void

    private struct State {
        /// Queues that are at no read.
        var idle: [any Executor]
        var turn = 0
        /// Reads that wait, the next one last; `later` holds those behind them in their order.
        var reads: [Job] = []
        var later: [Job] = []

        mutating func nextRead() -> Job? {
            if reads.isEmpty {
                reads = later.reversed()
                later = []
            }
            return reads.popLast()
        }
    }

    private let executors: [any Executor]
    private let state: Mutex<State>

    init(_ executors: [any Executor]) {
        precondition(!executors.isEmpty, "a broker needs a reader queue")
        self.executors = executors
        state = Mutex(State(idle: executors))
    }

    /// A queue for short work: one that is at no read, if there is any.
    func next() -> any Executor {
        state.withLock { state in
            let choice = state.idle.isEmpty ? executors : state.idle
            state.turn = (state.turn + 1) % executors.count
            return choice[state.turn % choice.count]
        }
    }

    /// Runs `job`, which may take long, behind the reads that wait already.
    func read(_ job: @escaping @Sendable () -> Void) {
        let executor = state.withLock { state in
            state.later.append(job)
            return state.idle.popLast()
        }
        guard let executor else { return }
        executor.execute { self.readNext(on: executor) }
    }

    private func readNext(on executor: any Executor) {
        let job = state.withLock { state in
            let job = state.nextRead()
            if job == nil { state.idle.append(executor) }
            return job
        }
        guard let job else { return }
        job()
        // Behind what was asked of the queue meanwhile.
        executor.execute { self.readNext(on: executor) }
    }
}
