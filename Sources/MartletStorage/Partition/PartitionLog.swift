package import MartletFormat
import MartletSystem
import Synchronization

/// What an accepted batch got.
package struct AppendReceipt: Equatable, Sendable {
    package let baseOffset: Int64
    /// The offset behind the batch: wait for it with `whenDurable`.
    package let endOffset: Int64
    package let leaderEpoch: Int32
    /// Records of it that were not stored, in their order: their messages are in the log already.
    package var duplicates: [DuplicateRecord] = []
}

/// Why a batch was not taken. Nothing of it is in the log.
package enum AppendRefusal: Sendable {
    case outOfOrderSequence(expected: Int32)
    /// Below the next sequence, and no batch of the window of duplicates.
    case duplicateSequence
    case unknownProducer
    case staleEpoch(current: Int16)
    case diskFull(String)
    /// The process has no descriptor free for the files: soon it may.
    case noDescriptors(String)
    case offline(OfflineReason)
    case failed(StorageError)
    case invalidTimestamp(String)
    case tooLarge(max: Int64)
    /// A compacted topic needs a key on every record.
    case nullKey
    /// A message id that is longer than such a topic takes.
    case messageIDTooLong(index: Int32, bytes: Int)
    /// No more ids can be remembered until older ones leave their windows.
    case tooManyMessageIDs(bytesMax: Int)
}

package enum AppendOutcome: Sendable {
    case appended(AppendReceipt)
    /// The batch was there already; the receipt is the original's.
    case duplicate(AppendReceipt)
    case refused(AppendRefusal)
    /// Nothing was done; the retry is told when another try is worth it.
    case later
}

/// One partition's log.
///
/// Two locks. `appender` orders appends and is held across `pwrite`; `state` is small and is what
/// readers, the flush and the appender share. Order: `appender` before `state`; nothing is called
/// back under either.
// Sendable: all mutable state is in `appender` and `state`, both Mutex; `flushPhase` belongs to the
// scheduler's lock.
package final class PartitionLog: Sendable {
    package let topicID: TopicID
    package let partition: Int32
    let key: PartitionKey
    let directory: String
    let context: StorageContext
    let appender: Mutex<Appender>
    let state: Mutex<LogState>
    let flushPhase = Atomic<UInt8>(FlushScheduler.Phase.idle)
    /// Held while files get their names and are synced; taken before the other two.
    let flushLock = Mutex<Void>(())
    /// Held by whatever rewrites or removes files of closed segments: one at a time, and none while
    /// the topic is deleted. Taken before all others.
    let upkeepLock = Mutex<Void>(())
    /// The pool's tick of the last append.
    let appendUse = Atomic<UInt64>(0)
    private let compacted: Atomic<Bool>

    init(
        key: PartitionKey, directory: String, context: StorageContext, appender: consuming Appender,
        state: consuming LogState
    ) {
        topicID = key.topic
        partition = key.partition
        self.key = key
        self.directory = directory
        self.context = context
        compacted = Atomic(state.segments.contains { $0.generation > 0 })
        self.appender = Mutex(appender)
        self.state = Mutex(state)
    }

    /// What the partition is now, from one consistent read.
    package var view: LogView { state.withLock { $0.view } }

    /// `vacant` of its view. Nearly always there is nothing, and that is told at once.
    package var vacant: [Range<Int64>] {
        state.withLock { $0.gaps.isEmpty && $0.skipped.isEmpty ? [] : $0.view.vacant }
    }

    /// Offsets of damage that was met and that nobody lets readers pass: in order, apart from each
    /// other.
    package var damaged: [Range<Int64>] {
        state.withLock { $0.damaged.isEmpty ? [] : $0.view.damaged }
            .sorted { $0.lowerBound < $1.lowerBound }.joined()
    }

    /// Why the partition cannot be served; nil when it can.
    package var offlineReason: OfflineReason? { state.withLock { $0.offline } }

    /// Whether a segment was ever rewritten by compaction, so that offsets may be missing whatever
    /// the topic's settings say now. Stays until the log is opened without such a segment.
    package var wasCompacted: Bool { compacted.load(ordering: .acquiring) }

    func noteCompacted() { compacted.store(true, ordering: .releasing) }

    /// Names the partition in messages.
    var name: String { "\(topicID)/\(partition)" }

    /// Calls `waiter` once when everything below `endOffset` is on disk: at once, on this thread,
    /// when it is already.
    package func whenDurable(_ endOffset: Int64, _ waiter: any DurabilityWaiter) {
        let answer = state.withLock { state -> (now: Bool, failure: StorageError?, ask: Bool) in
            if let failure = state.failure { return (true, failure, false) }
            if state.durable.offset >= endOffset { return (true, nil, false) }
            let index =
                state.durabilityWaiters.lastIndex { $0.endOffset <= endOffset }.map { $0 + 1 } ?? 0
            state.durabilityWaiters.insert((endOffset, waiter), at: index)
            return (false, nil, state.durability == .written)
        }
        if answer.now { waiter.durabilityReached(self, answer.failure) }
        if answer.ask { context.flush.request(self) }
    }

    /// Registers for the next move of the high watermark above `offset`; false when it is above
    /// already.
    package func waitForAdvance(above offset: Int64, _ waiter: any AdvanceWaiter) -> Bool {
        state.withLock { state in
            guard state.visible.offset <= offset, state.offline == nil else { return false }
            state.advanceWaiters.append((offset, waiter))
            return true
        }
    }

    package func cancelWait(_ waiter: any AdvanceWaiter) {
        state.withLock { $0.advanceWaiters.removeAll { $0.waiter === waiter } }
    }

    /// Runs what may rewrite or remove files, unless they are not to be touched any more. Upkeep.
    func upkeep(_ body: () -> Void) {
        upkeepLock.withLock { _ in
            if isForUpkeep { body() }
        }
    }

    /// Whether its files may be rewritten or removed: not once it is offline, or the engine stops.
    var isForUpkeep: Bool { isOnline && !context.isClosing.load(ordering: .relaxed) }

    var isOnline: Bool { state.withLock { $0.offline == nil } }

    /// Takes the partition offline: its data stays as it is, everything is refused with `reason`.
    func goOffline(_ reason: OfflineReason) {
        let woken = state.withLock { state -> [any AdvanceWaiter] in
            if state.offline == nil || reason == .deleted { state.offline = reason }
            defer { state.advanceWaiters = [] }
            return state.advanceWaiters.map(\.waiter)
        }
        let retries = appender.withLock { appender in
            dropMessageIDs(&appender)
            return appender.takeWaiting()
        }
        for waiter in woken { waiter.highWatermarkAdvanced(self) }
        for retry in retries { retry.retryAppend(self) }
    }

    /// Nothing that waits for the disk will be answered well any more.
    func fail(_ error: StorageError) {
        tellFailure(error)
        for retry in appender.withLock({ $0.takeWaiting() }) { retry.retryAppend(self) }
    }

    /// The same, except that nobody is waited for: false when somebody is at an append, and those who
    /// want to append are not told yet.
    func failIfFree(_ error: StorageError) -> Bool {
        tellFailure(error)
        guard let retries = appender.withLockIfAvailable({ $0.takeWaiting() }) else { return false }
        for retry in retries { retry.retryAppend(self) }
        return true
    }

    private func tellFailure(_ error: StorageError) {
        let waiters = state.withLock { state -> [any DurabilityWaiter] in
            state.failure = error
            defer { state.durabilityWaiters = [] }
            return state.durabilityWaiters.map(\.waiter)
        }
        for waiter in waiters { waiter.durabilityReached(self, error) }
    }

    /// New settings take effect with the next append and the next retention run.
    func apply(_ settings: TopicSettings) {
        let reserved = context.marks.marks(of: key).reserve?.offset ?? 0
        let (old, unsynced) = appender.withLock { appender in
            // Of what has left a shorter window, the longer one must be told by the log.
            let window = appender.settings.deduplicationWindowMilliseconds
            if settings.deduplicationWindowMilliseconds == 0
                || settings.deduplicationWindowMilliseconds > window
            {
                dropMessageIDs(&appender)
            }
            appender.settings = settings
            // A topic that becomes `written` has to reserve its offsets from here on.
            if settings.durability == .written, appender.reservedUntil == .max {
                appender.reservedUntil = reserved
            }
            return state.withLock { state in
                let old = state.durability
                state.durability = settings.durability
                return (old, state.appendedBytes - state.syncedBytes)
            }
        }
        if old != settings.durability {
            context.budget(settings.durability).add(unsynced)
            context.budget(old).give(unsynced)
        }
        // Readers of a topic that becomes `written` see what it had as a durable one once it is on
        // disk: no mark reserves those offsets.
        context.flush.request(self)
    }
}
