import MartletBroker
import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

/// A large group: who comes pauses nobody but those it takes from.
@Suite struct ManyMembersTests {
    private static let perConnection = 50

    /// What of a group's members one connection carries.
    private struct Part {
        let client: RawClient
        let members: [RawMember]

        /// Sends something for each member at once. Replies may come in any order.
        func all<Message: WireRequest>(
            _ request: (RawMember) -> Message
        ) throws -> [Int: Message.Reply] {
            var bytes: [UInt8] = []
            for (index, member) in members.enumerated() {
                bytes += try request(member).frame(correlation: UInt64(index + 1))
            }
            try client.send(bytes)
            var replies: [Int: Message.Reply] = [:]
            for _ in members {
                let found = try client.receive(Message.Reply.self)
                replies[Int(found.correlation) - 1] = found.reply
            }
            return replies
        }

        /// Heartbeats that wait.
        func park() throws {
            var bytes: [UInt8] = []
            for (index, member) in members.enumerated() {
                bytes += try member.heartbeat(wait: 60_000).frame(correlation: UInt64(index + 1))
            }
            try client.send(bytes)
        }

        /// Which of them were answered before a question that is asked now.
        func answered() throws -> [RawMember] {
            let last = UInt64(members.count + 1)
            try client.send(try PingRequest().frame(correlation: last))
            var answered: [RawMember] = []
            while true {
                let (header, payload) = try client.receive()
                if header.correlation == last { return answered }
                let reply = try HeartbeatReply.decode(
                    payload, 0..<payload.count, version: header.version
                ).message
                let member = members[Int(header.correlation) - 1]
                #expect(member.take(reply) == .none)
                answered.append(member)
            }
        }
    }

    private func join(_ member: RawMember) -> JoinGroupRequest {
        var request = JoinGroupRequest()
        request.group = member.group
        request.member = member.id
        request.sessionMilliseconds = 300_000
        request.drainMilliseconds = 300_000
        request.topics = [TopicNameItem("t")]
        return request
    }

    @Test func `the thousandth member is heard of by whom it takes from alone`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client, partitions: 1_100)
        let parts = try (0..<20).map { part in
            let client = try harness.hello()
            let count = part == 0 ? Self.perConnection - 1 : Self.perConnection
            return Part(
                client: client,
                members: (0..<count).map { RawMember(client, UInt64(part * 100 + $0 + 1)) })
        }
        for part in parts {
            let replies = try part.all(join)
            #expect(replies.values.allSatisfy { $0.error == .none })
        }
        var owned = 0
        for part in parts {
            for (index, reply) in try part.all({ $0.heartbeat(wait: 0) }) {
                #expect(part.members[index].take(reply) == .none)
            }
            owned += part.members.reduce(0) { $0 + $1.owned.count }
        }
        #expect(owned == 1_100)
        for part in parts { try part.park() }
        for part in parts { #expect(try part.answered().isEmpty) }
        let last = RawMember(try harness.hello(), 5_000)
        #expect(try last.client.ask(join(last)).error == .none)
        try last.beat()
        var donors: [(member: RawMember, part: Part)] = []
        #expect(
            try eventually {
                for part in parts { donors += try part.answered().map { ($0, part) } }
                return !donors.isEmpty
            })
        // Nobody else hears of it, now or once the partition is given up.
        let donor = try #require(donors.first)
        #expect(donors.count == 1 && donor.member.owned.count == 1 && last.owned.isEmpty)
        try release(by: donor.member, on: client)
        try last.waitForChange()
        #expect(last.owned.count == 1)
        for part in parts { #expect(try part.answered().isEmpty) }
        try harness.stop()
    }

    /// Gives up what the member has lost by what the group says.
    private func release(by donor: RawMember, on client: RawClient) throws {
        var request = DescribeGroupRequest()
        request.group = donor.group
        let leaving = try client.ask(request).partitions.filter(\.isLeaving)
        #expect(leaving.count == 1 && leaving.first?.owner == donor.id)
        var heartbeat = donor.heartbeat(wait: 0)
        heartbeat.released = leaving.map(\.owned)
        #expect(try client.ask(heartbeat).error == .none)
    }
}
