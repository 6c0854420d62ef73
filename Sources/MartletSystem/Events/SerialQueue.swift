import Dispatch
import Synchronization

/// An executor over one serial Dispatch queue.
///
/// Jobs go through a mailbox: only the first one into an empty mailbox costs a Dispatch block, which
/// is some twenty times cheaper than a block for each. A drain runs what it found and then lets
/// the queue's other work (event sources) have its turn.
///
/// Dispatch brings a thread when there is something to do, and when the system refuses it one, it
/// tries again for ever. Queues that must go on without memory keep theirs (`keepThread`).
package final class SerialQueue: Executor, Sendable {
    package typealias Job = @Sendable () -> Void

    /// Who will look at the mailbox next.
    private enum Worker {
        case nobody
        /// Somebody who is at work, or on the way.
        case awake
        /// Somebody who waits for sockets: the bell wakes it.
        case asleep
    }

    private struct Mailbox {
        var jobs: [Job] = []
        var worker = Worker.nobody
        var poller: Poller?
        var keepsThread = false
    }

    private static let current = DispatchSpecificKey<ObjectIdentifier>()

    package let label: String
    /// For event sources; jobs go through `execute`.
    let dispatchQueue: DispatchQueue
    private let mailbox = Mutex(Mailbox())

    package init(label: String) {
        self.label = label
        self.dispatchQueue = DispatchQueue(label: label, qos: .userInitiated)
        dispatchQueue.setSpecific(key: Self.current, value: ObjectIdentifier(self))
    }

    package func execute(_ job: @escaping @Sendable () -> Void) {
        let (before, poller) = mailbox.withLock { mailbox in
            let before = mailbox.worker
            mailbox.jobs.append(job)
            mailbox.worker = .awake
            return (before, mailbox.poller)
        }
        switch before {
        case .nobody: dispatchQueue.async { self.drain() }
        case .awake: break
        case .asleep: poller?.ring()
        }
    }

    package func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void) {
        Timers.give(job, to: self, after: nanoseconds)
    }

    /// Whether the caller runs on this queue.
    package var isCurrent: Bool {
        DispatchQueue.getSpecific(key: Self.current) == ObjectIdentifier(self)
    }

    /// Traps (also in release) when the caller does not run on this queue: a mistake in our code.
    package func assertCurrent() {
        dispatchPrecondition(condition: .onQueue(dispatchQueue))
    }

    /// What watches this queue's sockets. Made at the first call, which throws when there are no
    /// descriptors for it.
    func poller() throws(SystemError) -> Poller {
        try mailbox.withLock { mailbox throws(SystemError) in
            if let poller = mailbox.poller { return poller }
            let poller = try Poller(on: self)
            mailbox.poller = poller
            return poller
        }
    }

    /// Has Dispatch bring a thread now, which waits for sockets and jobs and does not go back. From
    /// then on the queue needs neither a thread nor a descriptor more. It lives until
    /// `releaseThread`.
    package func keepThread() throws(SystemError) {
        _ = try poller()
        mailbox.withLock { $0.keepsThread = true }
        execute {}
    }

    /// Lets the thread go once nothing is left to do; what comes later brings one again.
    package func releaseThread() {
        mailbox.withLock { $0.keepsThread = false }
        execute {}
    }

    private func drain() {
        if let poller = mailbox.withLock({ $0.poller }) { return poller.work(for: self) }
        runPendingJobs()
        if !rest() { dispatchQueue.async { self.drain() } }
    }

    // MARK: - For whoever works on the queue

    /// Runs the jobs that are there.
    func runPendingJobs() {
        let jobs = mailbox.withLock { mailbox in
            let jobs = mailbox.jobs
            mailbox.jobs = []
            mailbox.worker = .awake
            return jobs
        }
        for job in jobs { job() }
    }

    /// From now on a job rings the poller's bell. False when there are jobs already, or the thread is
    /// not to wait.
    func fallAsleep() -> Bool { leave(as: .asleep, whenKept: true) }

    func wakeUp() { mailbox.withLock { $0.worker = .awake } }

    /// From now on a job is brought by Dispatch. False when there are jobs already, or the thread is
    /// to stay.
    func rest() -> Bool { leave(as: .nobody, whenKept: false) }

    private func leave(as worker: Worker, whenKept isKept: Bool) -> Bool {
        mailbox.withLock { mailbox in
            guard mailbox.jobs.isEmpty, mailbox.keepsThread == isKept else { return false }
            mailbox.worker = worker
            return true
        }
    }
}
