import MartletClient
import MartletTesting
import Testing

/// Stands for a table in your database with the message's id as its key.
private actor Bookings {
    private(set) var amounts: [String: Int] = [:]

    /// One transaction: the id and the effect, both or neither; nothing when the id is there.
    func book(_ id: String, _ amount: Int) {
        if amounts[id] == nil { amounts[id] = amount }
    }
}

@Test func `a payment is booked once, whoever repeats what`() async throws {
    try await MartletTestBroker.run { broker in
        try await Martlet.withClient(broker.configuration) { client in
            // martlet topic create payments --partitions 4 --set deduplication.window=1h
            try await client.admin.createTopic(
                "payments", partitions: 4, settings: ["deduplication.window.ms": "3600000"])

            // The id comes from the order, not from the attempt: a program that was started again
            // and does not know what it had sent says the same id.
            for attempt in 1...2 {
                try await client.withProducer { producer in
                    let receipt = try await producer.send(
                        topic: "payments", key: "customer-7", value: "1200",
                        headers: [.messageID("payment-4711")])
                    #expect(receipt.isDuplicate == (attempt == 2))
                }
            }

            let bookings = Bookings()
            let queue = QueueConfiguration("booking", topics: ["payments"], order: .byKey)
            let member = Task {
                try await client.consumeQueue(queue) { payment in
                    guard let amount = payment.record.valueString.flatMap({ Int($0) }),
                        let id = payment.record.headers.first(where: { $0.key == "message-id" })
                    else { throw PermanentError("no payment") }
                    await bookings.book(id.stringValue ?? "", amount)
                    // As if the process had died here, before its ack: it is handed out again.
                    return payment.attempt == 1 ? .again(after: .milliseconds(1)) : .done
                }
            }
            var handled: Int64 = 0
            while handled < 1 {
                let groups = try await client.admin.listGroups()
                guard groups.contains(where: { $0.name == "booking" }) else { continue }
                let group = try await client.admin.describeGroup("booking")
                handled = group.queues.reduce(0) { $0 + $1.acked }
            }
            member.cancel()
            _ = await member.result
            #expect(await bookings.amounts == ["payment-4711": 1_200])
        }
    }
}
