package import Dispatch
import Synchronization

/// An executor over one serial Dispatch queue.
///
/// Jobs go through a mailbox: only the first one into an empty mailbox costs a Dispatch block, which
/// is some twenty times cheaper than a block for each. A drain runs what it found and then lets
/// the queue's other work (event sources, timers) have its turn.
package final class SerialQueue: Executor, Sendable {
    package typealias Job = @Sendable () -> Void

    /// How urgent the queue's work is to the scheduler.
    package enum Priority: Sendable {
        /// Work that a client waits for.
        case interactive
        /// Work that nobody waits for.
        case background
    }

    private struct Mailbox {
        var jobs: [Job] = []
        var isScheduled = false
    }

    private static let current = DispatchSpecificKey<ObjectIdentifier>()

    package let label: String
    /// For event sources; jobs go through `execute`.
    package let dispatchQueue: DispatchQueue
    private let mailbox = Mutex(Mailbox())
    private let ownPoller = Mutex<Poller?>(nil)

    package init(label: String, priority: Priority = .interactive) {
        self.label = label
        // Background is `.utility`: `.background` may be starved for seconds.
        let quality: DispatchQoS = priority == .interactive ? .userInitiated : .utility
        self.dispatchQueue = DispatchQueue(label: label, qos: quality)
        dispatchQueue.setSpecific(key: Self.current, value: ObjectIdentifier(self))
    }

    package func execute(_ job: @escaping @Sendable () -> Void) {
        let mustSchedule = mailbox.withLock { mailbox in
            mailbox.jobs.append(job)
            if mailbox.isScheduled { return false }
            mailbox.isScheduled = true
            return true
        }
        if mustSchedule { dispatchQueue.async { self.drain() } }
    }

    package func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void) {
        let delay = Int(clamping: max(0, nanoseconds))
        dispatchQueue.asyncAfter(deadline: .now() + .nanoseconds(delay), execute: job)
    }

    /// Whether the caller runs on this queue.
    package var isCurrent: Bool {
        DispatchQueue.getSpecific(key: Self.current) == ObjectIdentifier(self)
    }

    /// Traps (also in release) when the caller does not run on this queue: a mistake in our code.
    package func assertCurrent() {
        dispatchPrecondition(condition: .onQueue(dispatchQueue))
    }

    /// What watches this queue's sockets. Made at the first call, which throws when there is no
    /// descriptor for it.
    func poller() throws(SystemError) -> Poller {
        try ownPoller.withLock { own throws(SystemError) in
            if let poller = own { return poller }
            let poller = try Poller(on: self)
            own = poller
            return poller
        }
    }

    /// Makes the poller now, so that no later want of descriptors can stop the queue from watching.
    package func preparePolling() throws(SystemError) {
        _ = try poller()
    }

    /// Runs the jobs that are there, in the middle of other work on the queue.
    func runPendingJobs() {
        let jobs = mailbox.withLock { mailbox in
            let jobs = mailbox.jobs
            mailbox.jobs = []
            return jobs
        }
        for job in jobs { job() }
    }

    private func drain() {
        runPendingJobs()
        let hasMore = mailbox.withLock { mailbox in
            mailbox.isScheduled = !mailbox.jobs.isEmpty
            return mailbox.isScheduled
        }
        if hasMore { dispatchQueue.async { self.drain() } }
    }
}
