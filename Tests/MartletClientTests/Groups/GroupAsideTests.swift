import MartletFormat
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What a member leaves out because it is parked, or waits behind what is.
struct GroupAsideTests {
    private let key = OwnedKey(
        name: TopicPartition("t", 0), topic: TopicID(high: 1, low: 1), epoch: 1)

    private func ledger(
        at offset: Int64 = 0, finished: [Range<Int64>] = [], parked: [Int64: Bool] = [:]
    ) -> GroupLedger {
        let ledger = GroupLedger(isManual: false)
        ledger.open(
            key, at: offset, committed: GroupLedger.Position(offset: offset, finished: finished),
            parked: parked)
        return ledger
    }

    private func take(_ ledger: GroupLedger, _ range: Range<Int64>) throws -> Delivery {
        let delivery = try #require(ledger.shelve(key, range))
        #expect(ledger.take(delivery))
        ledger.split(delivery)
        return delivery
    }

    /// Has the records handled, one after the other; the key of each is its offset by 5.
    private func handle(
        _ ledger: GroupLedger, _ delivery: Delivery, _ range: Range<Int64>,
        parking: Set<Int64> = []
    ) -> [Int64] {
        var handled: [Int64] = []
        for offset in range {
            let hash = Int(offset % 5)
            guard line(ledger, offset, delivery, key: hash),
                begin(ledger, offset, delivery, key: hash)
            else { continue }
            handled.append(offset)
            if parking.contains(offset) {
                ledger.park(offset, of: delivery, key: hash)
            } else {
                ledger.end(offset, of: delivery, isDone: true)
            }
        }
        ledger.close(delivery, isWhole: true)
        return handled
    }

    private func line(
        _ ledger: GroupLedger, _ offset: Int64, _ delivery: Delivery, key: Int?
    ) -> Bool {
        ledger.line(offset, of: delivery, key: { key })
    }

    private func begin(
        _ ledger: GroupLedger, _ offset: Int64, _ delivery: Delivery, key: Int?
    ) -> Bool {
        ledger.begin(offset, of: delivery, isDone: false, key: { key })
    }

    private func position(_ ledger: GroupLedger) -> GroupLedger.Position? {
        ledger.takeUncommitted([key]).first?.1
    }

    @Test func `what is parked stays open with what comes later of its key, and holds nobody up`()
        throws
    {
        let ledger = ledger()
        let first = try take(ledger, 0..<10)
        #expect(handle(ledger, first, 0..<10, parking: [2]) == [0, 1, 2, 3, 4, 5, 6, 8, 9])
        #expect(
            position(ledger)
                == GroupLedger.Position(offset: 2, finished: [3..<7, 8..<10]))
        let second = try take(ledger, 10..<15)
        #expect(handle(ledger, second, 10..<15) == [10, 11, 13, 14])
        // The end of a batch that holds nothing.
        ledger.pass(key, to: 20)
        #expect(
            position(ledger)
                == GroupLedger.Position(offset: 2, finished: [3..<7, 8..<12, 13..<20]))
        #expect(ledger.entryCount == 0 && !ledger.isBusy)
        // Somebody else may have the partition at once.
        #expect(ledger.drain(key))
        #expect(position(ledger)?.offset == 2)
    }

    @Test func `what waits for its handler already is left out, and what came before is not`()
        throws
    {
        let ledger = ledger()
        let delivery = try take(ledger, 0..<13)
        for offset in 0..<Int64(13) {
            #expect(line(ledger, offset, delivery, key: Int(offset % 5)))
        }
        ledger.close(delivery, isWhole: true)
        // In any order: 7 begins, and is parked, before 2.
        #expect(begin(ledger, 7, delivery, key: 2))
        ledger.park(7, of: delivery, key: 2)
        #expect(!begin(ledger, 12, delivery, key: 2))
        for offset in 0..<Int64(12) where offset != 7 {
            let mayBegin = begin(ledger, offset, delivery, key: Int(offset % 5))
            #expect(mayBegin, "\(offset)")
            ledger.end(offset, of: delivery, isDone: true)
        }
        #expect(position(ledger) == GroupLedger.Position(offset: 7, finished: [8..<12]))
        #expect(ledger.entryCount == 0)
    }

    @Test func `a record without a key is parked alone`() throws {
        let ledger = ledger()
        let delivery = try take(ledger, 0..<3)
        for offset in 0..<Int64(3) {
            #expect(line(ledger, offset, delivery, key: nil))
            #expect(begin(ledger, offset, delivery, key: nil))
            if offset == 1 {
                ledger.park(1, of: delivery, key: nil)
            } else {
                ledger.end(offset, of: delivery, isDone: true)
            }
        }
        ledger.close(delivery, isWhole: true)
        #expect(position(ledger) == GroupLedger.Position(offset: 1, finished: [2..<3]))
    }

    @Test func `the next owner comes by what is parked, and knows its key from there on`() throws {
        let ledger = ledger(at: 2, finished: [3..<7, 8..<10], parked: [2: true, 11: false])
        // What is finished is not handed out; here it is only not lined up.
        let delivery = try take(ledger, 2..<20)
        var handled: [Int64] = []
        for offset in [2, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] as [Int64] {
            let hash = Int(offset % 5)
            guard line(ledger, offset, delivery, key: hash) else { continue }
            #expect(begin(ledger, offset, delivery, key: hash))
            handled.append(offset)
            ledger.end(offset, of: delivery, isDone: true)
        }
        ledger.close(delivery, isWhole: true)
        #expect(handled == [10, 13, 14, 15, 16, 18, 19])
        #expect(
            position(ledger)
                == GroupLedger.Position(
                    offset: 2, finished: [3..<7, 8..<11, 13..<17, 18..<20]))
    }

    @Test func `back at a lower offset nothing is aside, and what ends late does no harm`() throws {
        let ledger = ledger()
        let delivery = try take(ledger, 0..<10)
        #expect(line(ledger, 1, delivery, key: 1))
        #expect(begin(ledger, 1, delivery, key: 1))
        ledger.reset(key, to: 0, isBack: true)
        ledger.park(1, of: delivery, key: 1)
        ledger.close(delivery, isWhole: false)
        #expect(position(ledger) == GroupLedger.Position(offset: 0))
        let again = try take(ledger, 0..<10)
        #expect(handle(ledger, again, 0..<10).count == 10)
        #expect(position(ledger) == GroupLedger.Position(offset: 10))
        #expect(!ledger.isBusy)
    }

    @Test func `with more holes than a commit can say the partition is read no further`() throws {
        let ledger = ledger()
        let told = Mutex<[OwnedKey]>([])
        ledger.setWhenFull { key in told.withLock { $0.append(key) } }
        let most = Int64(RecordsAside.holesMax)
        var next: Int64 = 0
        while told.withLock({ $0.isEmpty }), next < 10 * most {
            let delivery = try take(ledger, next..<next + 500)
            _ = handle(ledger, delivery, next..<next + 500, parking: [0])
            next += 500
        }
        #expect(told.withLock { $0 } == [key])
        #expect((5 * most..<5 * most + 500).contains(next - 1), "\(next)")
        #expect(ledger.shelve(key, next..<next + 10) == nil)
        let said = try #require(position(ledger))
        #expect(said.offset == 0)
        // With room for what handlers have in hand.
        #expect(
            (RecordsAside.holesMax...WireLimits.finishedMax - GroupHandling.concurrencyMax)
                .contains(said.finished.count))
        // It is said until it was heard, though nothing is new.
        #expect(ledger.uncommitted == [key])
    }
}
