import MartletWire
import Testing

@testable import MartletBroker

/// A member may own thousands of partitions with thousands of ranges each: its reply stays one that
/// every client reads.
@Suite struct RangeRoomTests {
    @Test func `what is done above many offsets fits in one reply`() {
        var room = RangeRoom()
        let most = (0..<WireLimits.finishedMax).map {
            OffsetRange(Int64($0) * 2, Int64($0) * 2 + 1)
        }
        var told = 0
        for partition in 0..<300 {
            var committed = CommittedPosition()
            committed.finished = most
            room.fit(&committed)
            told += committed.finished.count
            // The lowest of them, and all as long as there is room.
            #expect(committed.finished == Array(most.prefix(committed.finished.count)))
            if partition < 50 { #expect(committed.finished.count == most.count) }
        }
        #expect(told == WireLimits.repliedRangesMax)
        #expect(told * 16 < 16 << 20)
    }
}
