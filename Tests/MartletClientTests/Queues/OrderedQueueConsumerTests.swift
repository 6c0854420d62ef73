import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Members of a queue group in order by key, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct OrderedQueueConsumerTests {
    private struct Refused: Error {}

    /// What handlers of one key did, as they see it.
    private final class KeyWatch: Sendable {
        private struct State {
            var running: [String: [Int]] = [:]
            var done: [String: [Int]] = [:]
            var count = 0
            var faults: [String] = []
        }

        private let state = Mutex(State())

        func begin(_ key: String, _ number: Int) {
            state.withLock { state in
                let others = (state.running[key] ?? []).filter { $0 != number }
                if !others.isEmpty {
                    state.faults.append("\(number) of \(key) beside \(others)")
                }
                if let last = state.done[key]?.last, last >= number {
                    state.faults.append("\(number) of \(key) after \(last)")
                }
                state.running[key, default: []].append(number)
            }
        }

        func end(_ key: String, _ number: Int, isDone: Bool) {
            state.withLock { state in
                let index = state.running[key]?.firstIndex(of: number)
                if let index { state.running[key]?.remove(at: index) }
                guard isDone else { return }
                state.done[key, default: []].append(number)
                state.count += 1
            }
        }

        var count: Int { state.withLock { $0.count } }
        var faults: [String] { state.withLock { $0.faults } }
        var done: [String: [Int]] { state.withLock { $0.done } }
    }

    private static func configuration() -> QueueConfiguration {
        QueueConfiguration("q", topics: ["t"], order: .byKey, concurrency: 8, prefetch: 20)
    }

    private static func fill(_ client: MartletClient, _ numbers: Range<Int>) async throws {
        try await client.withProducer { producer in
            for number in numbers {
                try producer.enqueue(
                    topic: "t", key: "k\(number % 7)", value: "\(number)", timestamp: 1_000)
            }
        }
    }

    private static func member(_ client: MartletClient, _ watch: KeyWatch) -> Task<Void, any Error>
    {
        Task {
            try await client.consumeQueue(configuration()) { record in
                let key = record.record.keyString ?? ""
                let number = GroupTest.number(record.record)
                watch.begin(key, number)
                await Task.yield()
                let fails = number % 11 == 3 && record.attempt == 1
                watch.end(key, number, isDone: !fails)
                if fails { throw Refused() }
                return .done
            }
        }
    }

    @Test func `each key is handled one by one, over failures, members and a restart`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 3]) { broker, client in
            let watch = KeyWatch()
            try await client.admin.createGroup("q", .queue(.earliest, order: .byKey))
            try await client.admin.setFailurePolicy(
                FailurePolicy(backoff: .milliseconds(1)), of: "q")
            try await Self.fill(client, 0..<300)
            let first = Self.member(client, watch)
            let second = Self.member(client, watch)
            while watch.count < 150 { await Task.yield() }
            // It finishes what it has begun, and the rest is the other's.
            first.cancel()
            await #expect(throws: CancellationError.self) { try await first.value }
            let third = Self.member(client, watch)
            // What members have fetched ahead when a broker dies they may begin once more.
            while try await client.admin.describeGroup("q").lag > 0 { await Task.yield() }
            try await broker.restart()
            try await Self.fill(client, 300..<600)
            while watch.count < 600 { await Task.yield() }
            for task in [second, third] {
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
            }
            let group = try await client.admin.describeGroup("q")
            #expect(group.kind == .queue(.earliest, order: .byKey))
            for (key, numbers) in watch.done { #expect(numbers == numbers.sorted(), "\(key)") }
            #expect(Set(watch.done.values.joined()).count == 600)
            let faults = watch.faults
            #expect(faults.isEmpty, "\(faults.prefix(5))")
        }
    }

    @Test func `a key that fails is parked, the others go on, and released it goes on in order`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 2]) { _, client in
            let seen = Mutex<[Int]>([])
            let isMended = Mutex(false)
            try await client.admin.createGroup("q", .queue(.earliest, order: .byKey))
            try await client.admin.setFailurePolicy(
                FailurePolicy(attempts: 1, last: .parkKey), of: "q")
            try await Self.fill(client, 0..<70)
            let member = Task {
                try await client.consumeQueue(Self.configuration()) { record in
                    let number = GroupTest.number(record.record)
                    if number == 10, !isMended.withLock({ $0 }) { throw Refused() }
                    seen.withLock { $0.append(number) }
                    return .done
                }
            }
            // 3 is done, 10 is parked, and 17 to 66 wait behind it.
            while true {
                let queues = try await client.admin.describeGroup("q").queues
                let isIdle = queues.allSatisfy { $0.inFlight == 0 && $0.delayed == 0 }
                let parked = queues.reduce(0) { $0 + $1.parked }
                if isIdle, parked == 1, seen.withLock({ $0.count }) == 61 { break }
                await Task.yield()
            }
            let parked = try #require(try await client.admin.parkedRecords(of: "q").first)
            #expect(parked.parksKey && parked.attempts == 1 && parked.failure == "Refused")
            isMended.withLock { $0 = true }
            let places = [parked.partition: [parked.offset, parked.offset + 1_000]]
            let refused = try await client.admin.releaseParked(places, of: "q")
            #expect(refused[parked.partition]?.keys.map(\.self) == [parked.offset + 1_000])
            #expect(refused[parked.partition]?.values.first?.code == .notParked)
            while seen.withLock({ $0.count }) < 70 { await Task.yield() }
            let key = seen.withLock { $0.filter { $0 % 7 == 3 } }
            #expect(key == Array(stride(from: 3, to: 70, by: 7)))
            #expect(try await client.admin.releaseAllParked(of: "q") == 0)
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }
}
