import FoundationEssentials
import Glibc
import MartletClient

/// A member of a group, as a process of its own: it is there to be killed and started again.
struct Member {
    let topic: String
    let name: String
    let files: ActFiles
    let screen = Screen()

    /// `TOPIC FOLDER NAME`.
    init(_ arguments: [String]) {
        topic = arguments[0]
        files = ActFiles(folder: arguments[1])
        name = arguments[2]
    }

    private var client: ClientConfiguration { ClientConfiguration(clientName: name) }

    /// Writes down each event after the one before it of the same aircraft.
    func board() async throws {
        let book = try Book(appendingTo: files.handled)
        var configuration = GroupConsumerConfiguration(
            "board", topics: [topic], sessionTimeout: .seconds(2), drainTimeout: .seconds(5),
            commitPolicy: .afterProcessing(interval: .seconds(1)))
        configuration.onAssign = { _, partitions in say("reads", partitions) }
        configuration.onRevoke = { _, partitions, isLost in
            say(isLost ? "lost" : "gives up", partitions)
        }
        try await Martlet.withClient(client) { [configuration] client in
            try await client.consumeGroup(configuration, handling: .perKey(8)) { record in
                let event = try FlightEvent(record)
                try book.add("\(event.id) \(name)")
            }
        }
    }

    private func say(_ what: String, _ partitions: [TopicPartition]) {
        guard !partitions.isEmpty else { return }
        let numbers = partitions.map(\.partition).sorted().map { "\($0)" }
        let word = numbers.count == 1 ? "partition" : "partitions"
        screen.note("\(name) \(what) \(word) \(numbers.joined(separator: ", "))")
    }

    /// Sends a message for each event, in any order.
    func notify() async throws {
        let outbox = try Outbox(files.sent, again: files.again)
        let outages = try Book(appendingTo: files.outages)
        var configuration = QueueConfiguration(
            "notify", topics: [topic], concurrency: 8, prefetch: 24, lease: .seconds(5))
        configuration.sessionTimeout = .seconds(2)
        try await Martlet.withClient(client) { [configuration] client in
            try await client.consumeQueue(configuration) { order in
                let event = try FlightEvent(order.record)
                // No attempt mends that; but what a person has looked at goes out as it is.
                guard event.tailNumber != nil || order.deadLetter != nil else {
                    throw PermanentError("no tail number")
                }
                guard unsafe access(files.outage, F_OK) != 0 else {
                    try outages.add(event.id)
                    throw Outage()
                }
                // As long as a mail server takes: a kill is to meet work in hand.
                try await Task.sleep(for: .milliseconds(5))
                try outbox.send(event, name)
                return .done
            }
        }
    }
}

/// A failure that passes: the group's policy has the record tried again.
struct Outage: Error, CustomStringConvertible {
    var description: String { "the mail server is away" }
}

extension FlightEvent {
    init(_ record: ConsumedRecord) throws {
        guard let value = record.valueBytes else {
            throw FlightError("\(record.topic):\(record.partition) @\(record.offset) has no value")
        }
        self = try JSONDecoder().decode(FlightEvent.self, from: Data(value))
    }
}
