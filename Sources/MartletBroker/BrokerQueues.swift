import Dispatch
import MartletConfiguration
import MartletStorage
import MartletSystem

/// The queues of one broker that wait for the disk: a fixed number, with a thread each, so that its
/// threads are bounded under any load.
struct BrokerQueues: Sendable {
    let ioCount: Int
    let readers: [any Executor]
    /// What changes topics, one at a time: it waits for the disk, but for no long work.
    let changes: any Executor
    /// What time does to groups, and what topics do: never waits for the disk.
    let groups: any Executor
    let storage: StorageExecutors

    init(_ configuration: BrokerConfiguration.Storage) {
        ioCount =
            configuration.ioQueues > 0
            ? configuration.ioQueues : max(1, CurrentProcess.processorCount / 2)
        readers = (0..<max(configuration.diskReaders, 1)).map {
            ThreadQueue(label: "martlet.reader.\($0)")
        }
        changes = ThreadQueue(label: "martlet.changes")
        groups = ThreadQueue(label: "martlet.groups")
        storage = StorageExecutors(
            flush: (0..<max(configuration.flushConcurrency, 1)).map {
                ThreadQueue(label: "martlet.flush.\($0)")
            }, readers: readers, housekeeping: ThreadQueue(label: "martlet.housekeeping"),
            upkeep: ThreadQueue(label: "martlet.upkeep"),
            marks: ThreadQueue(label: "martlet.marks"),
            failure: ThreadQueue(label: "martlet.failure"))
    }

    /// Spreads recovery over the cores; returns when all is done.
    static let parallel: StorageEngine.Parallel = { count, body in
        DispatchQueue.concurrentPerform(iterations: count, execute: body)
    }
}
