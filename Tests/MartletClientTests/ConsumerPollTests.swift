import MartletSystem
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What a consumer asks for beside a fetch that waits.
@Suite(.timeLimit(.minutes(1))) struct ConsumerPollTests {
    private let added = TopicPartition("u", 0)

    /// A consumer at the end of one topic; then it gets the end of another one, as by a hand-over.
    private func withAdded(
        maxWait: Duration, _ body: (ScriptedBroker, Consumer) async throws -> Void
    ) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        let configuration = ConsumerConfiguration(
            [.topic("t")], start: .latest, maxWait: maxWait)
        try await ConsumerTests.withConsumer(broker, configuration) { consumer in
            while requests(broker).isEmpty { await Task.yield() }
            let id = broker.onQueue { $0.topics["u"]?.id }
            let cursor = PartitionCursor(
                added, id: try #require(id), position: 0, isCompacted: false)
            consumer.core.context.loop.execute { consumer.core.add([cursor]) }
            try await body(broker, consumer)
        }
    }

    private func requests(_ broker: ScriptedBroker) -> [FetchRequest] {
        broker.script.withLock { $0.fetchRequests }
    }

    @Test func `a partition that comes is waited for beside a fetch that waits for others`()
        async throws
    {
        try await withAdded(maxWait: .seconds(60)) { broker, consumer in
            // What is there comes at once; nothing is.
            while requests(broker).count < 2 { await Task.yield() }
            #expect(requests(broker)[1].maxWaitMilliseconds == 0)
            while requests(broker).count < 3 { await Task.yield() }
            #expect(requests(broker)[2].maxWaitMilliseconds > 50_000)
            #expect(requests(broker)[2].partitions.count == 1)
            for value in 0..<3 {
                broker.append("u", values: ["\(value)"])
                let found = try await ConsumerTests.take(1, of: consumer).map(\.1)
                #expect(found == ["\(value)"])
            }
            broker.append("t", values: ["other"])
            let other = try await ConsumerTests.take(1, of: consumer).map(\.1)
            #expect(other == ["other"])
        }
    }

    @Test func `one fetch asks for all partitions again when the wait is over`() async throws {
        try await withAdded(maxWait: .milliseconds(50)) { broker, _ in
            while !requests(broker).contains(where: { $0.partitions.count == 2 }) {
                await Task.yield()
            }
        }
    }

    @Test func `fetches wait up to the same time, and are not many`() {
        var polls = ConsumerPolls()
        #expect(polls.mayAsk(at: 0))
        let first = polls.begin(at: 0, maxWait: 100)
        #expect(first.wait == 100)
        let second = polls.begin(at: 60, maxWait: 100)
        #expect(second.wait == 40)
        // Who is back before that asks again.
        let isFirstBack = polls.end(first)
        #expect(isFirstBack && polls.mayAsk(at: 99))
        // Then it waits for the others, but not for long.
        #expect(!polls.mayAsk(at: 100))
        let limit = polls.heldBack(at: 100)
        #expect(limit == 100 + 50_000_000 && polls.mayAsk(at: 100 + 50_000_000))
        let isSecondBack = polls.end(second)
        #expect(isSecondBack && polls.mayAsk(at: 100))
        let isBackTwice = polls.end(second)
        #expect(!isBackTwice)
        for _ in 0..<16 {
            #expect(polls.mayAsk(at: 100))
            _ = polls.begin(at: 100, maxWait: .max)
        }
        #expect(!polls.mayAsk(at: 100))
    }

    @Test func `what a lost connection had on its way ends nothing of the next one`() {
        var polls = ConsumerPolls()
        let old = polls.begin(at: 0, maxWait: 100)
        polls.forget()
        #expect(polls.mayAsk(at: 200))
        let new = polls.begin(at: 200, maxWait: 100)
        let (isOldBack, isNewBack) = (polls.end(old), polls.end(new))
        #expect(!isOldBack && isNewBack)
    }
}
