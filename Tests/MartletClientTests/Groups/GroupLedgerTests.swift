import MartletFormat
import Testing

@testable import MartletClient

/// What counts as done.
struct GroupLedgerTests {
    private let key = OwnedKey(
        name: TopicPartition("t", 0), topic: TopicID(high: 1, low: 1), epoch: 1)

    private func ledger(isManual: Bool = false) -> GroupLedger {
        let ledger = GroupLedger(isManual: isManual)
        ledger.open(key, at: 0, committed: GroupLedger.Position(offset: 0))
        return ledger
    }

    private func take(_ ledger: GroupLedger, _ range: Range<Int64>) throws -> Delivery {
        let delivery = try #require(ledger.shelve(key, range))
        #expect(ledger.take(delivery))
        return delivery
    }

    private func position(_ ledger: GroupLedger) -> GroupLedger.Position? {
        ledger.takeUncommitted([key]).first?.1
    }

    @Test(arguments: [true, false])
    func `what is done with takes no memory`(_ isManual: Bool) throws {
        let ledger = ledger(isManual: isManual)
        for number in 0..<Int64(1_000) {
            let delivery = try take(ledger, number * 10..<number * 10 + 10)
            delivery.hand(all: number * 10 + 10, isDone: !isManual)
            ledger.finish(delivery, isWhole: true)
            #expect(ledger.entryCount == 0)
        }
        if isManual { ledger.markHanded() }
        #expect(position(ledger) == GroupLedger.Position(offset: 10_000))
    }

    @Test func `what is in hand is not committed before it is done`() throws {
        let ledger = ledger()
        let first = try take(ledger, 0..<10)
        #expect(position(ledger) == nil)
        let second = try take(ledger, 10..<20)
        ledger.finish(first, isWhole: true)
        #expect(position(ledger) == GroupLedger.Position(offset: 10))
        ledger.finish(second, isWhole: true)
        #expect(position(ledger) == GroupLedger.Position(offset: 20))
    }

    @Test func `what is done behind a slow one is kept as one range`() throws {
        let ledger = ledger()
        let slow = try take(ledger, 0..<10)
        for number in 1..<Int64(1_000) {
            ledger.finish(try take(ledger, number * 10..<number * 10 + 10), isWhole: true)
            #expect(ledger.entryCount == 1)
        }
        #expect(position(ledger) == GroupLedger.Position(offset: 0, finished: [10..<10_000]))
        ledger.finish(slow, isWhole: true)
        #expect(position(ledger) == GroupLedger.Position(offset: 10_000))
        #expect(ledger.entryCount == 0)
    }

    @Test func `a range that touches the offset moves it`() {
        let position = LedgerPage.position(5, [12..<14, 5..<9, 8..<10, 14..<15, 0..<2])
        #expect(position == GroupLedger.Position(offset: 10, finished: [12..<15]))
        #expect(LedgerPage.position(5, []) == GroupLedger.Position(offset: 5))
    }

    @Test func `promised batches are committed together, whichever asks first`() throws {
        let ledger = ledger()
        let (first, second) = (try take(ledger, 0..<10), try take(ledger, 10..<20))
        ledger.promise(second)
        #expect(position(ledger) == GroupLedger.Position(offset: 0, finished: [10..<20]))
        ledger.promise(first)
        #expect(position(ledger) == GroupLedger.Position(offset: 20))
        // Cut short, only what was handed out is done.
        first.hand(3, isDone: true)
        _ = ledger.drain(key)
        #expect(position(ledger) == GroupLedger.Position(offset: 4))
    }

    @Test func `nobody knows what the broker has until it answers`() throws {
        let ledger = ledger()
        let delivery = try take(ledger, 0..<10)
        #expect(position(ledger) == nil)
        ledger.promise(delivery)
        #expect(position(ledger)?.offset == 10)
        ledger.abandon(delivery)
        // The answer to the first is not here: what holds now is said all the same.
        #expect(ledger.uncommitted == [key])
        let now = try #require(position(ledger))
        #expect(now.offset == 0)
        ledger.committed(key, now)
        #expect(ledger.uncommitted.isEmpty)
    }
}
