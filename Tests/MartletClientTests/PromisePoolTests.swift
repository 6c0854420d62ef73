import Synchronization
import Testing

@testable import MartletClient

/// Promises that are used again for the next `send`.
struct PromisePoolTests {
    @Test func `a promise that was kept is used again, as new`() async throws {
        let pool = PromisePool<Int>()
        let first = try await Self.use(pool, 1)
        for number in 2..<10 {
            let next = try await Self.use(pool, number)
            #expect(next == first)
        }
    }

    /// Which promise it was, that nobody but the pool holds any more.
    private static func use(
        _ pool: PromisePool<Int>, _ number: Int
    ) async throws -> ObjectIdentifier {
        let promise = pool.take()
        #expect(promise.isOpen)
        promise.succeed(number)
        let value = try await promise.value()
        #expect(value == number)
        pool.give(promise)
        return ObjectIdentifier(promise)
    }

    @Test func `one that anybody still holds is not given to another`() {
        let pool = PromisePool<Int>()
        let held = pool.take()
        held.succeed(1)
        pool.give(held)
        let other = pool.take()
        #expect(other !== held && other.isOpen)
        #expect(!held.isOpen)
    }

    @Test func `answers that come after their calls were cancelled reach nobody else`() async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer()
            try await producer.send(topic: "t", value: "first")
            broker.script.withLock { $0.onProduce = { _, _ in .hold } }
            for round in 0..<20 {
                let given = Task { try await producer.send(topic: "t", value: "\(round)") }
                while broker.records("t").count < 2 * round + 2 { await Task.yield() }
                given.cancel()
                await #expect(throws: CancellationError.self) { _ = try await given.value }
                let next = Task.immediate { try await producer.send(topic: "t", value: "next") }
                // The late answer first, then that of the second call.
                broker.releaseHeld(1)
                while broker.records("t").count < 2 * round + 3 { await Task.yield() }
                broker.releaseHeld()
                let offset = try await next.value.offset
                #expect(offset == Int64(2 * round + 2))
            }
        }
    }
}
