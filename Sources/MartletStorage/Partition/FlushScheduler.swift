import MartletSystem
import Synchronization

/// Group commit: partitions with bytes to sync wait in one queue, `flush.concurrency` workers each
/// take one and sync it; what is appended meanwhile goes with that partition's next turn.
final class FlushScheduler: Sendable {
    /// Where a partition stands; touched only under the scheduler's lock.
    enum Phase {
        static let idle: UInt8 = 0
        static let queued: UInt8 = 1
        static let running: UInt8 = 2
        /// Asked again while running.
        static let runningAgain: UInt8 = 3
    }

    private struct State {
        var queue: [PartitionLog] = []
        var idleWorkers: [Int]
    }

    private let executors: [any Executor]
    private let manyThreshold: Int
    private let state: Mutex<State>

    init(_ executors: [any Executor], manyThreshold: Int) {
        self.executors = executors
        self.manyThreshold = manyThreshold
        state = Mutex(State(idleWorkers: Array(executors.indices.reversed())))
    }

    /// Asks that everything appended to `log` so far be synced soon.
    func request(_ log: PartitionLog) {
        let worker = state.withLock { state -> Int? in
            switch log.flushPhase.load(ordering: .relaxed) {
            case Phase.idle:
                log.flushPhase.store(Phase.queued, ordering: .relaxed)
                state.queue.append(log)
                return state.idleWorkers.popLast()
            case Phase.running:
                log.flushPhase.store(Phase.runningAgain, ordering: .relaxed)
                return nil
            default:  // queued or runningAgain: the request is on its way already
                return nil
            }
        }
        if let worker { start(worker) }
    }

    private func start(_ worker: Int) {
        executors[worker].execute { [self] in drain(worker) }
    }

    private func drain(_ worker: Int) {
        while true {
            let logs = state.withLock { state -> [PartitionLog] in
                if state.queue.isEmpty {
                    state.idleWorkers.append(worker)
                    return []
                }
                let many = manyThreshold > 0 && state.queue.count >= manyThreshold
                let count = many ? state.queue.count : 1
                let taken = Array(state.queue[..<count])
                state.queue.removeFirst(count)
                for log in taken { log.flushPhase.store(Phase.running, ordering: .relaxed) }
                return taken
            }
            if logs.isEmpty { return }
            if logs.count == 1 { logs[0].flush() } else { PartitionLog.flushTogether(logs) }
            state.withLock { state in
                for log in logs { Self.finish(log, &state) }
            }
        }
    }

    private static func finish(_ log: PartitionLog, _ state: inout State) {
        if log.flushPhase.load(ordering: .relaxed) == Phase.runningAgain {
            log.flushPhase.store(Phase.queued, ordering: .relaxed)
            state.queue.append(log)
        } else {
            log.flushPhase.store(Phase.idle, ordering: .relaxed)
        }
    }
}
