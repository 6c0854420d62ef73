import MartletClient
import MartletTestSupport
import Testing

/// How far a group is cannot be set to where there is nothing yet.
@Suite struct CommitAboveEndTests {
    @Test func `an offset above the log's end is refused with a code and its place`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            let partition = TopicPartition("t", 0)
            try await client.admin.commitOffsets("g", [partition: 10])
            let error = await #expect(throws: MartletError.self) {
                try await client.admin.commitOffsets("g", [partition: 11])
            }
            #expect(error?.code == .offsetOutOfRange && error?.isRetriable == false)
            #expect(error?.message == "offset 11 of partition 0 of t lies above its end, 10")
            #expect(error?.context["topic"] == "t" && error?.context["partition"] == "0")
            let committed = try await client.admin.describeGroup("g").partitions.map(\.committed)
            #expect(committed == [10])
        }
    }
}
