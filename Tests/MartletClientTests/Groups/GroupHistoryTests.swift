import MartletClient
import MartletTesting
import Testing

/// What happened to groups, read by a program.
@Suite(.timeLimit(.minutes(1))) struct GroupHistoryTests {
    @Test func `a program reads what happened to a group, and what comes`() async throws {
        try await MartletTestBroker.run(topics: ["t": 2]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                await #expect(throws: MartletError.self) {
                    try await client.withGroupHistory { _ in }
                }
                try await client.admin.createGroup("other")
                try await client.admin.createGroup("g")
                // Its first event is there a moment after the group.
                try await Self.waitForTopic(client)
                let seen = try await client.withGroupHistory(of: "g", from: .earliest) { history in
                    var seen: [GroupHistoryEvent] = []
                    for try await event in history {
                        seen.append(event)
                        if seen.count == 1 { try await client.admin.pauseGroup("g") }
                        if event.type == "group.paused" { break }
                    }
                    return seen
                }
                #expect(seen.map(\.type) == ["group.created", "group.paused"])
                #expect(seen.allSatisfy { $0.group == "g" && $0.by == "person" })
                #expect(seen.allSatisfy { $0.client == "test" && $0.at > 0 })
                #expect(seen[0].number < seen[1].number && seen[0].reason == "stream")
            }
        }
    }

    private static func waitForTopic(_ client: MartletClient) async throws {
        while try await !client.admin.listTopics(includeInternal: true).contains(where: {
            $0.name == GroupHistoryEvent.topic
        }) {
            await Task.yield()
        }
    }
}
