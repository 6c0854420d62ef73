import MartletClient
import MartletConfiguration
import MartletSystem
import Synchronization

/// Measures how long partitions are nobody's when a member of a stream group ends: from that moment
/// until others have been given all of them.
struct HandoverBench: Sendable {
    let client: MartletClient
    let topic: String
    let group: String
    let partitions: Int
    let members: Int
    let session: Duration
    let rounds: Int
    /// Its process is killed; else it leaves in order.
    let isKill: Bool

    private static let patience = Duration.seconds(60)
    private let clock = SystemClock()

    func run() async throws -> LatencyHistogram {
        try await client.admin.createGroup(group)
        let owners = Owners()
        let latency = try await withThrowingTaskGroup(of: LatencyHistogram?.self) { tasks in
            for _ in 1..<members {
                tasks.addTask {
                    try await stay(owners)
                    return nil
                }
            }
            tasks.addTask { try await repeatedly(owners) }
            defer { tasks.cancelAll() }
            while let found = try await tasks.next() {
                if let found { return found }
            }
            throw ToolError(.failure, "all members ended by themselves")
        }
        try await client.admin.deleteGroup(group)
        return latency
    }

    private func repeatedly(_ owners: Owners) async throws -> LatencyHistogram {
        var latency = LatencyHistogram()
        for _ in 0..<rounds {
            latency.record(nanoseconds: try await isKill ? kill(owners) : leave(owners))
        }
        return latency
    }

    private func leave(_ owners: Owners) async throws -> Int64 {
        let member = Task { try await join(configuration) }
        try await settle(owners)
        let start = clock.monotonicNanoseconds()
        member.cancel()
        let end = try await allOwned(owners)
        _ = await member.result
        return end - start
    }

    private func kill(_ owners: Owners) async throws -> Int64 {
        let milliseconds = session.components.seconds * 1_000
        let copy = try OwnCopy([
            "tail", topic, "--group", group, "-f", "--session", "\(milliseconds)ms", "--server",
            client.configuration.server,
        ])
        do {
            try await settle(owners)
            let start = clock.monotonicNanoseconds()
            copy.kill()
            let end = try await allOwned(owners)
            try copy.wait()
            return end - start
        } catch {
            copy.kill()
            throw error
        }
    }

    /// Until everybody is there and has a part.
    private func settle(_ owners: Owners) async throws {
        try await until("the members are not settled") {
            let group = try await client.admin.describeGroup(group)
            return group.members.count == members
                && group.members.allSatisfy { $0.partitions > 0 }
                && group.partitions.count == partitions
                && group.partitions.allSatisfy { $0.owner != nil && !$0.isLeaving }
                && owners.count < partitions
        }
    }

    private func allOwned(_ owners: Owners) async throws -> Int64 {
        try await until("the partitions found nobody") { owners.count == partitions }
        return owners.lastGain
    }

    private func until(
        _ otherwise: String, _ holds: () async throws -> Bool
    ) async throws {
        let end = ContinuousClock.now + Self.patience
        while try await !holds() {
            guard ContinuousClock.now < end else { throw ToolError(.timeout, otherwise) }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    // MARK: - Members

    private var configuration: GroupConsumerConfiguration {
        GroupConsumerConfiguration(group, topics: [topic], sessionTimeout: session)
    }

    private func stay(_ owners: Owners) async throws {
        var configuration = configuration
        configuration.onAssign = { _, partitions in
            owners.gain(partitions, at: clock.monotonicNanoseconds())
        }
        configuration.onRevoke = { _, partitions, _ in owners.lose(partitions) }
        try await join(configuration)
    }

    private func join(_ configuration: GroupConsumerConfiguration) async throws {
        do {
            try await client.withGroupConsumer(configuration) { consumer in
                for try await _ in consumer.batches {}
            }
        } catch is CancellationError {
            // Left in order.
        }
    }

    /// What the members that stay own.
    private final class Owners: Sendable {
        private let state = Mutex<(owned: Set<TopicPartition>, lastGain: Int64)>(([], 0))

        var count: Int { state.withLock { $0.owned.count } }
        var lastGain: Int64 { state.withLock { $0.lastGain } }

        func gain(_ partitions: [TopicPartition], at now: Int64) {
            state.withLock { state in
                state.owned.formUnion(partitions)
                state.lastGain = now
            }
        }

        func lose(_ partitions: [TopicPartition]) {
            state.withLock { $0.owned.subtract(partitions) }
        }
    }
}
