import MartletFormat
import MartletWire
import Testing

@testable import MartletClient

/// What a member of a queue has to say, without a broker.
@Suite struct QueueLedgerTests {
    private static func delivered(_ number: UInt64, _ range: Range<Int64>) -> DeliveredRange {
        var delivered = DeliveredRange()
        delivered.topic = TopicID(high: 1, low: 1)
        delivered.delivery = number
        delivered.range = OffsetRange(range.lowerBound, range.upperBound)
        return delivered
    }

    /// It stood still, its lease ran out, and it is handed the same records again.
    @Test func `of a record that was delivered again only the newest delivery is spoken of`()
        async throws
    {
        let ledger = QueueLedger()
        ledger.take(Self.delivered(1, 0..<4), until: 1_000)
        #expect(ledger.begin(0, of: 1, at: 0) && ledger.begin(1, of: 1, at: 0))
        ledger.end(0..<1, of: 1, .done)
        ledger.take(Self.delivered(2, 0..<3), until: 2_000)
        ledger.extend(at: 10, limit: .max)
        ledger.end(1..<2, of: 1, .done)
        let sayings = try #require(await ledger.next(max: 100))
        var seen = RangeSet<Int64>()
        for saying in sayings {
            #expect(seen.isDisjoint(RangeSet(saying.range)), "\(sayings)")
            seen.insert(contentsOf: saying.range)
            #expect(saying.delivered.delivery == (saying.range.contains(3) ? 1 : 2))
        }
        #expect(seen == RangeSet(0..<4))
        #expect(!ledger.begin(2, of: 1, at: 20) && ledger.begin(2, of: 2, at: 20))
        #expect(await ledger.room(of: 20) == 16)
    }
    /// Four handlers began, and three have done their work: of one record the broker says no.
    @Test func `what is refused of several records is said of each, and one thing of each`()
        async throws
    {
        let ledger = QueueLedger()
        ledger.take(Self.delivered(1, 0..<4), until: 1_000)
        for offset in Int64(0)..<4 { #expect(ledger.begin(offset, of: 1, at: 0)) }
        ledger.end(0..<3, of: 1, .done)
        let first = try #require(await ledger.next(max: 100))
        let done = try #require(first.first { $0.verb == .done })
        #expect(done.range == 0..<3)
        ledger.sayOfEach(done)
        // It is not run together with what others say.
        ledger.extend(at: 10, limit: .max)
        let second = try #require(await ledger.next(max: 100))
        #expect(
            second.filter { $0.verb == .done }.map(\.range.lowerBound).sorted() == [0, 1, 2])
        #expect(second.allSatisfy { $0.range.count == 1 })
        // What was handed out again is the later delivery's.
        ledger.take(Self.delivered(2, 1..<2), until: 2_000)
        ledger.sayOfEach(done)
        ledger.end(1..<2, of: 2, .done)
        let third = try #require(await ledger.next(max: 100))
        let said = third.map { [Int64($0.delivered.delivery), $0.range.lowerBound] }
        #expect(
            Set(said) == [[1, 0], [1, 2], [2, 1]] && third.allSatisfy { $0.range.count == 1 })
    }

    @Test func `of what has ended meanwhile no lease is asked for again`() async throws {
        let ledger = QueueLedger()
        ledger.take(Self.delivered(1, 0..<4), until: 1_000)
        ledger.extend(at: 10, limit: .max)
        let sayings = try #require(await ledger.next(max: 100))
        let extend = try #require(sayings.first)
        #expect(sayings.count == 1 && extend.range == 0..<4)
        ledger.end(1..<2, of: 1, .done)
        ledger.sayOfEach(extend)
        ledger.end(2..<3, of: 1, .again(milliseconds: 5))
        let next = try #require(await ledger.next(max: 100))
        #expect(next.filter { $0.verb == .extend }.map(\.range.lowerBound).sorted() == [0, 3])
        #expect(next.count == 4)
        // Nor twice in one request, when it is time for the next one.
        ledger.sayOfEach(extend)
        ledger.extend(at: 20, limit: .max)
        let last = try #require(await ledger.next(max: 100))
        #expect(last.map(\.range.lowerBound).sorted() == [0, 3])
        // Told once.
        #expect(ledger.lose(0..<1, of: 1) && !ledger.lose(0..<1, of: 1))
        #expect(!ledger.lose(1..<2, of: 1) && ledger.lose(3..<4, of: 1))
    }
}
