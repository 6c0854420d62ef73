import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension StorageEngine {
    private static let tickNanoseconds: Int64 = 1_000_000_000
    private static let clockSaveMilliseconds: Int64 = 60_000

    func scheduleTick() {
        context.executors.housekeeping.execute(after: Self.tickNanoseconds) { [weak self] in
            guard let self, !isClosed.load(ordering: .relaxed) else { return }
            look()
            askForRound()
            scheduleTick()
        }
    }

    /// Syncs what `written` topics have left in the cache, every `written.sync.interval`. Not with
    /// the tick: what housekeeping is at work on must not make it late.
    func scheduleWrittenSync() {
        let interval = context.options.writtenSyncMilliseconds * 1_000_000
        context.executors.marks.execute(after: interval) { [weak self] in
            guard let self, !isClosed.load(ordering: .relaxed), context.failed == nil else {
                return
            }
            for topic in topics() where topic.isOnline {
                for log in topic.partitions { log.syncIfDirty() }
            }
            scheduleWrittenSync()
        }
    }

    /// What is due once a second, all of it. For tests.
    package func tick() {
        look()
        round()
    }

    /// Housekeeping.
    private func look() {
        guard context.failed == nil else { return }
        context.space.check()
        if context.space.isWritable { context.marks.catchUp() }
        context.checkDescriptors()
        advanceRetentionClock()
    }

    /// Asks for a round of what may take long, unless one is under way.
    func askForRound() {
        guard !isRoundAsked.exchange(true, ordering: .relaxed) else { return }
        context.executors.upkeep.execute { [weak self] in
            guard let self, !isClosed.load(ordering: .relaxed) else { return }
            round()
            context.executors.upkeep.execute { [weak self] in
                self?.isRoundAsked.store(false, ordering: .relaxed)
            }
        }
    }

    /// Upkeep. Each compaction is a job of its own: retention of the others waits for one at most.
    private func round() {
        guard context.failed == nil else { return }
        let now = context.clock.monotonicNanoseconds()
        for topic in topics() where topic.isOnline {
            recoverReadOnly(topic)
            for log in topic.partitions {
                log.upkeep {
                    log.settleIfQuiet(now: now)
                    log.applyRetention()
                }
                guard topic.settings.cleanup.compacts else { continue }
                context.executors.upkeep.execute { log.upkeep { log.compactIfDue() } }
            }
        }
        context.executors.upkeep.execute { [weak self] in
            guard let self, !isClosed.load(ordering: .relaxed), context.failed == nil else {
                return
            }
            scrubber.round(self)
            context.metrics.housekeepingRounds.add()
        }
    }

    private func advanceRetentionClock() {
        let monotonic = context.clock.monotonicNanoseconds() / 1_000_000
        let wall = context.clock.wallMilliseconds()
        let now = context.retentionClock.withLock { clock in
            clock.advance(wall: wall, monotonic: monotonic)
            return clock.now
        }
        guard monotonic - lastClockSave.load(ordering: .relaxed) >= Self.clockSaveMilliseconds
        else { return }
        lastClockSave.store(monotonic, ordering: .relaxed)
        var mark = MarkEntry(.clock)
        mark.time = now
        do {
            try context.marks.record([mark])
        } catch {
            context.logger.warning(
                "CLOCK_NOT_SAVED", "retention clock not saved: \(error.message)")
        }
    }
}
