import MartletClient
import MartletConfiguration

/// `martlet tail --group`: reads as a member of a group, and commits what it has printed.
struct GroupTail: Sendable {
    let plan: TailPlan
    let configuration: GroupConsumerConfiguration

    init(_ group: String, _ plan: TailPlan, _ context: CommandContext) throws {
        for flag in ["until", "exit", "last", "partition"] where context.invocation.has(flag) {
            throw context.usage("--group and --\(flag) exclude each other")
        }
        var configuration = GroupConsumerConfiguration(
            group, topics: [plan.topic], commitPolicy: .manual)
        switch plan.from {
        case .earliest: configuration.resetPolicy = .earliest
        case .latest: configuration.resetPolicy = .latest
        case .time(let time): configuration.resetPolicy = .time(time)
        case .offset, .fromEnd:
            guard !context.invocation.has("from") else {
                throw context.usage(
                    "with --group, --from is earliest, latest or @TIME: where a group begins that "
                        + "has committed nothing")
            }
        }
        configuration.deadline = plan.deadline
        if let session = try context.invocation.milliseconds("session", in: 1_000...300_000) {
            configuration.sessionTimeout = .milliseconds(session)
        }
        self.plan = plan
        self.configuration = configuration
    }

    func run(
        _ client: MartletClient, _ context: CommandContext, _ printer: inout RecordPrinter
    ) async throws {
        _ = try await client.admin.topic(plan.topic)
        let output = context.output
        var left = plan.count ?? .max
        if left == 0 { return }
        try await naming(client) { consumer in
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask {
                    for await event in consumer.events {
                        if let text = Self.describe(event) { output.message("martlet: \(text)") }
                    }
                }
                defer { tasks.cancelAll() }
                for try await batch in consumer.batches {
                    var last: ConsumedRecord?
                    for record in batch {
                        last = record
                        guard plan.accepts(record) else { continue }
                        try printer.show(RecordView(record))
                        left -= 1
                        if left == 0 { break }
                    }
                    try printer.flush()
                    if left == 0 {
                        if let last { try await commit(consumer, last) }
                        return
                    }
                    try await commit(consumer, batch)
                    try Task.checkCancellation()
                }
            }
        }
    }

    /// A queue has no offsets that a reader could go on at: says what shows its records instead.
    private func naming(
        _ client: MartletClient, _ body: (GroupConsumer) async throws -> Void
    ) async throws {
        do {
            try await client.withGroupConsumer(configuration, body)
        } catch let error as MartletError where error.code == .wrongGroupKind {
            throw ToolError(
                describing: error,
                advice: "'martlet group records \(configuration.group)' lists what it has not "
                    + "handled, and 'martlet tail \(plan.topic)' without --group reads the topic "
                    + "beside it")
        }
    }

    /// What went to another member meanwhile is that one's to commit; the event has told it.
    private func commit(_ consumer: GroupConsumer, _ record: ConsumedRecord) async throws {
        do {
            try await consumer.commit(record)
        } catch let error as MartletError where Self.isElsewhere(error) {
            // It will be read again there.
        }
    }

    private func commit(_ consumer: GroupConsumer, _ batch: ConsumerBatch) async throws {
        do {
            try await consumer.commit(batch)
        } catch let error as MartletError where Self.isElsewhere(error) {
            // It will be read again there.
        }
    }

    private static func isElsewhere(_ error: MartletError) -> Bool {
        error.code == .staleMemberEpoch || error.code == .fencedMember
    }

    private static func describe(_ event: GroupEvent) -> String? {
        switch event {
        case .joined: nil
        case .assigned(let partitions): "reading \(names(partitions))"
        case .revoked(let partitions): "gave up \(names(partitions))"
        case .drainTimedOut(let partition): "no time is left to finish \(partition)"
        case .lost(let partitions, let error): "lost \(names(partitions)) (\(error.code.name))"
        case .fenced(let error): "the group went on without this member (\(error.message))"
        case .reset(let partition, nil, let to): "the group begins at \(to) of \(partition)"
        case .reset(let partition, .some(let from), let to):
            "offset \(from) of \(partition) is not there any more; going on at \(to)"
        case .commitFailed(let partitions, let error):
            "not committed: \(names(partitions)) (\(error.code.name))"
        case .news(let news): describe(news)
        case .disconnected(let error): "connection lost (\(error.code.name)); trying again"
        case .parked(let partition, let offset, let withKey):
            "\(partition) \(offset) is parked\(withKey ? " with its key" : "")"
        case .tooManyParked(let partition):
            "too much waits behind parked records of \(partition): the group stands still there"
        case .reconnected: "connected again"
        case .reading(let event): TailCommand.describe(event)
        }
    }

    private static func describe(_ news: GroupNews) -> String {
        switch news {
        case .expired(let records):
            "\(Shown.plural(records, "record")) of the group expired un-handled"
        case .paused(let part): "paused: \(place(part))"
        case .resumed(let part): "goes on: \(place(part))"
        case .breaker(let state): "the group's breaker is \(state.rawValue)"
        }
    }

    private static func place(_ part: GroupPart?) -> String {
        part?.word ?? "the whole group"
    }

    private static func names(_ partitions: [TopicPartition]) -> String {
        partitions.map(\.description).joined(separator: ", ")
    }
}
