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
}
