import MartletFormat
import MartletWire
import Testing

@testable import MartletClient

/// Records that are handed once more to a member whose handler runs with them, without a broker.
@Suite struct TakeOverTests {
    /// The number of a delivery: which start of the broker, and which one of it.
    private static func delivered(
        start: UInt64, _ number: UInt64, attempts: UInt32
    ) -> DeliveredRange {
        var delivered = DeliveredRange()
        delivered.topic = TopicID(high: 1, low: 1)
        delivered.delivery = start << 32 | number
        delivered.range = OffsetRange(0, 1)
        delivered.attempts = attempts
        return delivered
    }

    private enum After {
        case running
        case ended
        case refused
    }

    /// A handler that began under the first delivery of start 1 as attempt 1, and what became of it.
    private static func ledger(_ after: After) async throws -> QueueLedger {
        let ledger = QueueLedger()
        let first = delivered(start: 5, 1, attempts: 0)
        ledger.take(first, until: 1_000)
        #expect(ledger.begin(0, of: first.delivery, at: 0))
        if after == .running { return ledger }
        ledger.handled(0, of: first, .done, at: 10)
        let saying = try #require(await ledger.next(max: 10)?.first)
        #expect(saying.verb == .done)
        if after == .refused { #expect(ledger.refused(saying, at: 20)) }
        return ledger
    }

    private static func isHandledAnew(
        _ after: After, by second: DeliveredRange, forgotten time: Int64 = 0
    ) async throws -> Bool {
        let ledger = try await ledger(after)
        ledger.forget(refusedBefore: time)
        ledger.take(second, until: 2_000)
        return ledger.waits(0, of: second.delivery)
    }

    @Test func `after a restart what runs, or has ended unheard, is not handled anew`() async throws
    {
        for after in [After.running, .ended, .refused] {
            // The beginning was on the disk, or was not.
            for attempts: UInt32 in [0, 1] {
                let again = Self.delivered(start: 2, 1, attempts: attempts)
                #expect(try await !Self.isHandledAnew(after, by: again), "\(after) \(attempts)")
            }
        }
        // Somebody else has begun since, and what ended is old.
        let others = Self.delivered(start: 2, 9, attempts: 2)
        #expect(try await Self.isHandledAnew(.ended, by: others))
        #expect(try await Self.isHandledAnew(.refused, by: others))
        #expect(try await !Self.isHandledAnew(.running, by: others))
        let soon = Self.delivered(start: 2, 1, attempts: 1)
        #expect(try await Self.isHandledAnew(.refused, by: soon, forgotten: 21))
    }

    @Test func `within a start what was reset is handled anew, and what only ran late is not`()
        async throws
    {
        let (reset, late) = (
            Self.delivered(start: 5, 2, attempts: 0), Self.delivered(start: 5, 2, attempts: 1)
        )
        #expect(try await Self.isHandledAnew(.running, by: reset))
        #expect(try await Self.isHandledAnew(.ended, by: reset))
        #expect(try await !Self.isHandledAnew(.running, by: late))
        #expect(try await !Self.isHandledAnew(.ended, by: late))
        #expect(try await Self.isHandledAnew(.refused, by: late))
    }

    @Test func `what is taken over is said under the newest delivery, and once`() async throws {
        let ledger = try await Self.ledger(.running)
        let first = Self.delivered(start: 5, 1, attempts: 0)
        for start in UInt64(2)...3 {
            ledger.take(
                Self.delivered(start: start, 1, attempts: UInt32(start) - 1), until: 2_000)
        }
        let begun = try #require(await ledger.next(max: 10))
        #expect(begun.map(\.verb) == [.begin])
        #expect(begun.map(\.delivered.delivery) == [3 << 32 | 1])
        ledger.extend(at: 30, limit: 100)
        #expect(try #require(await ledger.next(max: 10)).map(\.verb) == [.extend])
        ledger.handled(0, of: first, .again(milliseconds: 7), at: 40)
        let said = try #require(await ledger.next(max: 10))
        #expect(said.map(\.verb) == [.again(milliseconds: 7)])
        #expect(said.map(\.delivered.delivery) == [3 << 32 | 1])
        // The time of its handler counts from its real beginning.
        let slow = try await Self.ledger(.running)
        slow.take(Self.delivered(start: 2, 1, attempts: 1), until: 2_000)
        slow.extend(at: 500, limit: 400)
        #expect(try #require(await slow.next(max: 10)).map(\.verb) == [.begin])
    }

    @Test func `a handler of before a reset has no say in what began after it`() async throws {
        let ledger = try await Self.ledger(.running)
        let (first, second) = (
            Self.delivered(start: 5, 1, attempts: 0), Self.delivered(start: 5, 2, attempts: 0)
        )
        ledger.take(second, until: 2_000)
        #expect(ledger.begin(0, of: second.delivery, at: 5, isSaid: true))
        ledger.handled(0, of: first, .done, at: 10)
        ledger.close()
        #expect(await ledger.next(max: 10) == nil)
    }
}
