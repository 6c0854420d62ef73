import MartletTestSupport
import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Whatever is stored or handed out twice, an application that knows its events by their ids comes
/// to the state that it would have come to without.
@Suite(.timeLimit(.minutes(1))) struct BankTests {
    private struct Transfer {
        let id: Int
        let from: Int
        let to: Int
        let amount: Int

        var text: String { "\(id) \(from) \(to) \(amount)" }

        init(_ id: Int, _ random: inout SeededRandom) {
            self.id = id
            (from, to) = (random.below(BankTests.accounts), random.below(BankTests.accounts))
            amount = random.within(1...100)
        }

        init?(_ text: String) {
            let numbers = text.split(separator: " ").compactMap { Int($0) }
            guard numbers.count == 4 else { return nil }
            (id, from, to, amount) = (numbers[0], numbers[1], numbers[2], numbers[3])
        }
    }

    /// What an application has in its own database: the state and the ids that are in it, changed
    /// together.
    private struct Books {
        private(set) var balances = [Int](repeating: 0, count: BankTests.accounts)
        private(set) var applied: Set<Int> = []
        /// What became of who does not look at ids.
        private(set) var careless = [Int](repeating: 0, count: BankTests.accounts)
        private(set) var again = 0

        mutating func apply(_ transfer: Transfer) {
            careless[transfer.from] -= transfer.amount
            careless[transfer.to] += transfer.amount
            guard applied.insert(transfer.id).inserted else {
                again += 1
                return
            }
            balances[transfer.from] -= transfer.amount
            balances[transfer.to] += transfer.amount
        }
    }

    private final class Shelf: Sendable {
        private let state = Mutex(Books())

        var books: Books { state.withLock { $0 } }
        func apply(_ transfer: Transfer) { state.withLock { $0.apply(transfer) } }
    }

    private static let accounts = 7
    private static let count = 600

    /// Answers get lost, so that the producer sends again; and the application itself sends some again
    /// with another producer, as one that was killed before it heard of them.
    private static func send(
        _ transfers: [Transfer], _ broker: MartletTestBroker, _ client: MartletClient
    ) async throws -> Int {
        var records = 0
        for part in [transfers[...], transfers.suffix(50), transfers.prefix(50)] {
            try await client.withProducer { producer in
                for (number, transfer) in part.enumerated() {
                    if number.isMultiple(of: 100) { broker.dropAcks() }
                    let record = ProducerRecord(
                        topic: "t", key: "\(transfer.from)", value: transfer.text)
                    if number.isMultiple(of: 10) {
                        _ = try await producer.send(record)
                    } else {
                        try producer.enqueue(record)
                    }
                    records += 1
                }
            }
        }
        return records
    }

    /// A member that is killed once `isOver` says so of what it has handled.
    private static func live(
        _ client: MartletClient, _ books: Shelf, commits: Duration,
        until isOver: (Transfer?) -> Bool
    ) async throws {
        var member = GroupTest.member(policy: .afterProcessing(interval: commits))
        member.instance = "teller"
        try await client.withGroupConsumer(member) { consumer in
            for try await record in consumer.records {
                let transfer = Transfer(record.valueString ?? "")
                if let transfer { books.apply(transfer) }
                if isOver(transfer) { break }
            }
            await GroupTest.kill(consumer)
        }
    }

    @Test func `balances are right, whatever is stored or handed out twice`() async throws {
        var random = SeededRandom.announced()
        let transfers = (0..<Self.count).map { Transfer($0, &random) }
        var expected = Books()
        for transfer in transfers { expected.apply(transfer) }
        let books = Shelf()
        try await GroupConsumerTests.with { broker, client in
            let sent = try await Self.send(transfers, broker, client)
            var stored: Int64 = 0
            for partition in Int32(0)..<4 {
                let end = try await client.admin.listOffsets(
                    "t", at: .latest, partitions: [partition])
                stored += end.first?.offset ?? 0
            }
            // A producer's own repeats are none; those of the application are.
            #expect(stored == Int64(sent) && sent > Self.count)
            // Killed after so many, often without a commit; the next one has its name and goes on.
            for life in 0..<5 {
                let isLate = life.isMultiple(of: 2)
                try await Self.live(
                    client, books, commits: isLate ? .seconds(60) : .milliseconds(1)
                ) {
                    _ in random.chance(1, in: 50)
                }
                if life == 2 { try await broker.restart() }
            }
            // One behind all others in each partition.
            for partition in Int32(0)..<4 {
                try await client.withProducer { producer in
                    let end = ProducerRecord(topic: "t", value: "end", partition: partition)
                    _ = try await producer.send(end)
                }
            }
            var ends = 0
            try await Self.live(client, books, commits: .seconds(60)) { transfer in
                if transfer == nil { ends += 1 }
                return ends == 4
            }
        }
        let found = books.books
        #expect(found.balances == expected.balances)
        #expect(found.balances.reduce(0, +) == 0)
        // Else it would have shown nothing.
        #expect(found.again > 0 && found.careless != expected.balances)
    }
}
