import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Members of groups that must not be waited for without end.
@Suite(.timeLimit(.minutes(1))) struct GroupEndTests {
    @Test(arguments: ["group", "instance", "topic"])
    func `a name that no request can carry is told`(which: String) async throws {
        let long = String(repeating: "x", count: 300)
        try await GroupFaultTests.with { _, client in
            let configuration = GroupConsumerConfiguration(
                which == "group" ? long : "g", topics: [which == "topic" ? long : "t"],
                instance: which == "instance" ? long : nil)
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer(configuration) { _ in }
            }
            #expect(error?.code == .invalidArgument)
        }
    }

    /// Where reading begins in a partition is asked before `onAssign`, and who leaves comes after.
    @Test func `who leaves waits for no answer about where to begin`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        defer { broker.stop() }
        broker.script.withLock { $0.holdsOffsets = true }
        broker.assign(["t", "u"])
        let configuration = ClientConfiguration(
            server: broker.address, requestTimeout: .seconds(300), deadline: .seconds(300))
        try await Martlet.withClient(configuration) { client in
            let member = Task {
                try await client.withGroupConsumer(GroupTest.member("g")) { consumer in
                    for try await _ in consumer.records {}
                }
            }
            while broker.script.withLock({ $0.listOffsets == 0 }) { await Task.yield() }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            #expect(broker.script.withLock { $0.group.leaves.count } == 1)
            #expect(broker.script.withLock { $0.group.commits.isEmpty })
        }
    }
}
