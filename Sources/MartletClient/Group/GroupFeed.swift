import MartletSystem
import MartletWire
import Synchronization

/// What the application takes from a group's consumer, with the account of what it has done.
final class GroupFeed: Sendable {
    let ledger: GroupLedger
    private let core: GroupCore
    private let shelf: BatchShelf
    /// Handed out, and their readers are gone: done with when the application asks again.
    private let left = Mutex<[Left]>([])

    private struct Left {
        let delivery: Delivery
        let isBatch: Bool
    }

    init(_ core: GroupCore) {
        self.core = core
        ledger = core.ledger
        shelf = core.reading.shelf
    }

    /// Whether a record counts as done when it is handed out.
    var isBefore: Bool { core.configuration.commitPolicy == .beforeProcessing }

    /// What says to the broker that handlers failed; nil: nobody does.
    var failures: GroupFailures? {
        core.configuration.failures == .byPolicy ? GroupFailures(core) : nil
    }

    var now: Int64 { core.now }

    var times: HandlerTimer { core.times }

    /// The next batch; nil when the consumer is closed.
    func next(isolation: isolated (any Actor)? = #isolation) async throws -> ConsumerBatch? {
        ledger.asked()
        while true {
            guard let batch = try await shelf.next(isolation: isolation) else { return nil }
            await checkSession()
            guard let delivery = batch.run.delivery, ledger.take(delivery) else { continue }
            guard isBefore, !PlantedBug.handOutUncommitted.isOn else { return batch }
            do {
                if try await isCommitted(delivery) { return batch }
                ledger.abandon(delivery)
            } catch {
                // Nobody was handed any of it: it is for who asks next.
                putBack(batch, delivery)
                ledger.abandon(delivery)
                throw error
            }
        }
    }

    /// A process that slept may hold what is another member's by now.
    func checkSession() async {
        if core.isOverdue { await core.onQueue { $0.checkSession() } }
    }

    /// At most once: commits the batch before it is handed out. False: it is another member's.
    private func isCommitted(_ delivery: Delivery) async throws -> Bool {
        ledger.promise(delivery)
        let done = Promise<Bool>()
        let core = core
        core.context.loop.execute {
            core.commit([delivery.key], deadline: core.now.addingClamped(core.patience)) { error in
                guard let error else {
                    done.succeed(true)
                    return
                }
                let isElsewhere = error.code == .staleMemberEpoch || error.code == .fencedMember
                if isElsewhere { done.succeed(false) } else { done.fail(error) }
            }
        }
        return try await done.value()
    }

    /// Says what is done of the partition, if that is new, as far as it can be said: before a record
    /// that may end the process, so that nothing that was done is taken for why it ended.
    func commitDone(_ key: OwnedKey) async {
        let done = Promise<Void>()
        let core = core
        core.context.loop.execute {
            core.commit([key], deadline: core.now.addingClamped(core.patience)) { _ in
                done.succeed(())
            }
        }
        await done.settled()
    }

    // MARK: - Readers that go

    /// A reader of records is gone; what it was not handed is handed out again.
    func leave(_ batch: ConsumerBatch, _ delivery: Delivery) {
        putBack(batch, delivery)
        left.withLock { $0.append(Left(delivery: delivery, isBatch: false)) }
    }

    /// What was not handed out of a batch comes first again.
    private func putBack(_ batch: ConsumerBatch, _ delivery: Delivery) {
        guard let rest = ledger.giveBack(delivery) else { return }
        shelf.putBack(ConsumerBatch(run: FetchedRun(batch.run, from: rest.from, rest: rest)))
    }

    /// A reader of batches is gone.
    func leave(_ delivery: Delivery) {
        left.withLock { $0.append(Left(delivery: delivery, isBatch: true)) }
    }

    /// A new reader asks for more: what was left is done with.
    func takeLeft() -> [Delivery] {
        left.withLock { left in
            defer { left = [] }
            return left.map(\.delivery)
        }
    }

    /// The application ended well: it is done with the records that it was handed. Of a batch nobody
    /// knows how far it came.
    func finishLeft() {
        for left in left.withLock({ $0 }) where !left.isBatch {
            ledger.finish(left.delivery, isWhole: false)
        }
    }

    /// Nobody will ask again: what was left and is not done with stays so.
    func abandonLeft() {
        for delivery in takeLeft() { ledger.abandon(delivery) }
    }
}
