import CMartletShim
import Dispatch
import Glibc
import Synchronization

/// One thread that waits for sockets, timers and jobs, and runs what belongs to them, one after the
/// other.
///
/// A serial executor for a client's connections. Compared with a Dispatch queue and its sources it
/// saves two of the three thread changes between a caller and its answer: an event is handled by
/// the thread that waited for it, and a caller may run its own job itself while the loop sleeps
/// (`runInline`). Some dozens of sockets are its measure; a server has better means.
///
/// Whoever holds the baton owns everything that is confined to the loop: the loop's thread while it
/// works, or a caller inside `runInline`.
///
/// Also a task executor: a task that prefers it is resumed by the loop's thread, which saves the
/// change of threads behind an event. Such tasks do not hold the baton, and each turn of the loop
/// runs only those that were there, so that sockets and timers have theirs in between.
@safe package final class EventLoop: Executor, @unchecked Sendable {
    // Sendable: `mailbox` is a mutex, `holder` is atomic; the rest is touched with the baton only.

    package typealias Job = @Sendable () -> Void

    fileprivate struct Mailbox {
        var jobs: [Job] = []
        var timers = TimerHeap()
        /// The thread is, or is about to be, in its wait.
        var isSleeping = false
        /// When the wait ends by itself.
        var sleepsUntil: Int64 = .max
        /// What the wait looks at is no longer what should be looked at.
        var isInterestStale = false
        var isStopped = false
        var afterStop: [Job] = []
        /// Parts of tasks that prefer the loop.
        var tasks: [UnownedJob] = []
        /// The thread takes no more tasks.
        var hasEnded = false
    }

    package let label: String
    private let clock = SystemClock()
    private let mailbox = Mutex(Mailbox())
    private let baton = Mutex(())
    /// Number of the thread that holds the baton; 0: nobody.
    private let holder = Atomic<UInt>(0)
    private let bell: Bell
    private var sources: [LoopSource] = []

    /// Starts the thread, which runs until `stop`. Throws when there is no descriptor left.
    package init(label: String) throws(SystemError) {
        self.label = label
        bell = try Bell()
        // The thread holds the loop until it ends.
        DetachedThread.start(label) { self.run() }
    }

    // MARK: - Jobs

    package func execute(_ job: @escaping Job) {
        let (rings, isStopped) = mailbox.withLock { mailbox in
            mailbox.jobs.append(job)
            return (mailbox.wakes(), mailbox.isStopped)
        }
        if rings { bell.ring() }
        // The thread may be gone.
        if isStopped && !isCurrent { withBaton { runJobs() } }
    }

    package func execute(after nanoseconds: Int64, _ job: @escaping Job) {
        let due = TimerHeap.due(nanoseconds, after: clock.monotonicNanoseconds())
        let rings = mailbox.withLock { mailbox in
            mailbox.timers.push(due: due, job)
            return due < mailbox.sleepsUntil && mailbox.wakes()
        }
        if rings { bell.ring() }
    }

    /// Runs `body` on the calling thread as if it were the loop's, when nobody else is at work.
    /// Returns false, and runs nothing, when the loop is busy: then use `execute`.
    package func runInline(_ body: () -> Void) -> Bool {
        guard mailbox.withLock({ $0.jobs.isEmpty && !$0.isStopped }) else { return false }
        let done: Void? = baton.withLockIfAvailable { _ in hold(body) }
        return done != nil
    }

    private func withBaton(_ body: () -> Void) {
        baton.withLock { _ in hold(body) }
    }

    private func hold(_ body: () -> Void) {
        holder.store(Self.threadNumber, ordering: .relaxed)
        body()
        holder.store(0, ordering: .relaxed)
    }

    /// Whether the caller holds the baton.
    package var isCurrent: Bool { holder.load(ordering: .relaxed) == Self.threadNumber }

    /// Traps (also in release) when the caller does not hold the baton: a mistake in our code.
    package func assertCurrent() {
        precondition(isCurrent, "not on the event loop")
    }

    /// Ends the thread once the jobs that are there have run; timers are forgotten. `body` is its
    /// last act. Jobs given later run on their givers' threads, still one after the other.
    package func stop(then body: @escaping Job = {}) {
        let rings = mailbox.withLock { mailbox -> Bool? in
            if mailbox.isStopped { return nil }
            mailbox.isStopped = true
            mailbox.afterStop.append(body)
            return mailbox.wakes()
        }
        guard let rings else {
            body()
            return
        }
        if rings { bell.ring() }
    }

    // MARK: - Sources

    func add(_ source: LoopSource) {
        sources.insert(source, at: source.comesFirst ? 0 : sources.count)
    }

    func remove(_ source: LoopSource) {
        sources.removeAll { $0 === source }
        interestChanged()
    }

    /// The wait has to look at other sockets, or for other events.
    func interestChanged() {
        let rings = mailbox.withLock { mailbox in
            mailbox.isInterestStale = true
            return mailbox.wakes()
        }
        if rings { bell.ring() }
    }

    // MARK: - The thread

    private static var threadNumber: UInt { UInt(pthread_self()) }

    private func run() {
        var entries: [pollfd] = []
        var watched: [LoopSource] = []
        var tasks: [UnownedJob] = []
        var events = 0
        while true {
            if events > 0 { handle(entries, watched, &tasks) }
            runTasks(&tasks)
            withBaton {
                runTimers()
                runJobs()
                (entries, watched) = interest()
            }
            let wait = mailbox.withLock { mailbox -> Int64? in
                if mailbox.isStopped && mailbox.jobs.isEmpty { return nil }
                if !mailbox.jobs.isEmpty || !mailbox.tasks.isEmpty || mailbox.isInterestStale {
                    return 0
                }
                mailbox.isSleeping = true
                mailbox.sleepsUntil = mailbox.timers.nextDue
                return mailbox.sleepsUntil
            }
            guard let wait else { break }
            events = sleep(&entries, until: wait)
            mailbox.withLock { mailbox in
                mailbox.isSleeping = false
                mailbox.sleepsUntil = .max
            }
        }
        let (last, left) = mailbox.withLock { mailbox in
            mailbox.timers = TimerHeap()
            mailbox.hasEnded = true
            defer {
                mailbox.afterStop = []
                mailbox.tasks = []
            }
            return (mailbox.afterStop, mailbox.tasks)
        }
        for task in left { runElsewhere(task) }
        sources = []
        for body in last { body() }
    }

    private func sleep(_ entries: inout [pollfd], until: Int64) -> Int {
        var nanoseconds: Int64 = -1
        if until == 0 {
            nanoseconds = 0
        } else if until != .max {
            nanoseconds = max(0, until - clock.monotonicNanoseconds())
        }
        let count = entries.count
        let found = unsafe entries.withUnsafeMutableBufferPointer { buffer in
            unsafe martlet_ppoll(buffer.baseAddress, count, nanoseconds)
        }
        return max(0, Int(found))
    }

    /// What to wait for: the bell first, then one entry per source, also for those that want
    /// nothing now.
    private func interest() -> ([pollfd], [LoopSource]) {
        mailbox.withLock { $0.isInterestStale = false }
        var entries = [pollfd(fd: bell.number, events: Int16(POLLIN), revents: 0)]
        for source in sources {
            entries.append(
                pollfd(fd: source.descriptorToWatch, events: source.wantedEvents, revents: 0))
        }
        return (entries, sources)
    }

    private func handle(
        _ entries: [pollfd], _ watched: [LoopSource], _ tasks: inout [UnownedJob]
    ) {
        if entries[0].revents != 0 { bell.silence() }
        for (entry, source) in zip(entries.dropFirst(), watched) where entry.revents != 0 {
            withBaton { source.happened(entry.revents) }
            // Before the next socket: somebody waits for what this one brought.
            runTasks(&tasks)
        }
    }

    private func runTimers() {
        let now = clock.monotonicNanoseconds()
        while let job = mailbox.withLock({ $0.timers.pop(now: now) }) { job() }
    }

    /// Runs the jobs that are there. Once stopped, also those that they give.
    private func runJobs() {
        while true {
            let (jobs, isStopped) = mailbox.withLock { mailbox in
                let jobs = mailbox.jobs
                mailbox.jobs = []
                return (jobs, mailbox.isStopped)
            }
            for job in jobs { job() }
            if jobs.isEmpty || !isStopped { return }
        }
    }

    // MARK: - Tasks

    /// Whether tasks wait for their turn, which comes before that of the jobs given now.
    package var hasTasks: Bool { mailbox.withLock { !$0.tasks.isEmpty } }

    private func runTasks(_ tasks: inout [UnownedJob]) {
        // The arrays change places, so that neither is made anew each time.
        mailbox.withLock { swap(&$0.tasks, &tasks) }
        for task in tasks { run(task) }
        tasks.removeAll(keepingCapacity: true)
    }

    private func run(_ task: UnownedJob) {
        unsafe task.runSynchronously(on: asUnownedTaskExecutor())
    }

    /// Without its thread the loop is an executor still: no task is ever left behind.
    private func runElsewhere(_ task: UnownedJob) {
        DispatchQueue.global(qos: .userInitiated).async { self.run(task) }
    }
}

extension EventLoop: TaskExecutor {
    package func enqueue(_ task: consuming ExecutorJob) {
        let task = UnownedJob(task)
        let (rings, hasEnded) = mailbox.withLock { mailbox in
            if mailbox.hasEnded { return (false, true) }
            mailbox.tasks.append(task)
            return (mailbox.wakes(), false)
        }
        if hasEnded { runElsewhere(task) } else if rings { bell.ring() }
    }
}

extension EventLoop.Mailbox {
    /// True when the bell has to be rung; once per sleep.
    fileprivate mutating func wakes() -> Bool {
        if !isSleeping { return false }
        isSleeping = false
        sleepsUntil = .min
        return true
    }
}
