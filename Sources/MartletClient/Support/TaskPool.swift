import MartletSystem
import Synchronization

/// A task executor with threads of its own, as many as the machine has processors.
///
/// The runtime's own pool allocates for every task that it wakes on Linux, since a job is handed to
/// Dispatch in a wrapper. Here a woken task costs a place in an array. Like the runtime's pool it
/// is for tasks that give way: one that blocks takes a thread from the others.
final class TaskPool: TaskExecutor, Sendable {
    /// The pool of the process. Its threads are started with the first use and stay.
    static let shared = TaskPool()

    private struct State {
        var tasks = Fifo<UnownedJob>()
        /// Threads that wait for the bell.
        var sleepers = 0
    }

    private let state = Mutex(State())
    private let bell = Semaphore()

    private init() {
        for index in 0..<max(2, CurrentProcess.processorCount) {
            DetachedThread.start("martlet.tasks.\(index)") { self.run() }
        }
    }

    /// Runs `body` with the pool, unless its task prefers another executor.
    static func use<R>(
        isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> R
    ) async rethrows -> R {
        let isFree = unsafe withUnsafeCurrentTask { task in
            unsafe task?.unownedTaskExecutor == nil
        }
        let pool = isFree ? shared : nil
        return try await withTaskExecutorPreference(pool, isolation: isolation, operation: body)
    }

    func enqueue(_ task: consuming ExecutorJob) {
        let task = UnownedJob(task)
        let rings = state.withLock { state in
            state.tasks.append(task)
            if state.sleepers == 0 { return false }
            state.sleepers -= 1
            return true
        }
        if rings { bell.signal() }
    }

    private func run() {
        while true {
            let task = state.withLock { state in
                let task = state.tasks.popFirst()
                if task == nil { state.sleepers += 1 }
                return task
            }
            if let task {
                unsafe task.runSynchronously(on: asUnownedTaskExecutor())
            } else {
                bell.wait()
            }
        }
    }
}
