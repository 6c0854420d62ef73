import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// The assignor's three promises, for random groups: everything wanted has one owner who wants it,
/// loads are as equal as single moves make them, and nothing moves without need.
@Suite struct AssignorTests {
    private static let seed: UInt64 = 71

    private func loads(_ result: [TopicPartition: MemberID], _ ids: [MemberID]) -> [Int] {
        ids.map { id in result.values.count { $0 == id } }
    }

    @Test func `loads differ by one at most, and a join moves no more than its share`() {
        var random = SeededRandom(seed: Self.seed)
        for _ in 0..<100 {
            let topics = (0...random.below(3)).map {
                TopicShape("t\($0)", Int32(random.below(30)))
            }
            let count = topics.reduce(0) { $0 + Int($1.partitions) }
            var members: [MemberID: Member] = [:]
            var current: [TopicPartition: MemberID] = [:]
            for number in 1...UInt64(1 + random.below(12)) {
                members[MemberID(random.next() &+ number)] = .wanting(["t*"])
                let result = Assignor.assign(members: members, topics: topics) { current[$0] }
                #expect(result.count == count)
                let loads = loads(result, Array(members.keys))
                #expect((loads.max() ?? 0) - (loads.min() ?? 0) <= 1)
                let moved = result.count { current[$0.key] != nil && current[$0.key] != $0.value }
                #expect(moved <= (count + members.count - 1) / members.count)
                let again = Assignor.assign(members: members, topics: topics) { result[$0] }
                #expect(again == result)
                current = result
            }
        }
    }

    @Test func `a leave moves only what the member had`() throws {
        var members: [MemberID: Member] = [:]
        for number in 1...7 { members[MemberID(UInt64(number))] = .wanting(["t"]) }
        let topics = [TopicShape("t", 50)]
        let before = Assignor.assign(members: members, topics: topics) { _ in nil }
        let gone = MemberID(3)
        members[gone] = nil
        let after = Assignor.assign(members: members, topics: topics) { before[$0] }
        #expect(after.count == 50)
        #expect(after.allSatisfy { before[$0.key] == gone || before[$0.key] == $0.value })
    }

    @Test func `nobody gets what it does not want`() {
        var random = SeededRandom(seed: Self.seed &+ 1)
        for _ in 0..<100 {
            let topics = (0..<5).map { TopicShape("t\($0)", Int32(1 + random.below(9))) }
            var members: [MemberID: Member] = [:]
            for _ in 0...random.below(6) {
                let wanted = topics.filter { _ in random.chance(1, in: 2) }.map(\.name)
                members[MemberID(random.next())] = .wanting(wanted + ["none"])
            }
            let result = Assignor.assign(members: members, topics: topics) { _ in
                members.keys.min()
            }
            for topic in topics {
                let wanting = members.filter { $0.value.subscription.matches(topic.name) }
                for number in 0..<topic.partitions {
                    let owner = result[TopicPartition(topic.id, number)]
                    #expect(wanting.isEmpty == (owner == nil))
                    if let owner { #expect(wanting[owner] != nil) }
                }
            }
        }
    }

    @Test(arguments: [
        ("orders", "orders", true), ("orders", "orders2", false), ("orders*", "orders2", true),
        ("*", "anything", true), ("*", "$groups", false), ("$groups", "$groups", true),
        ("a*c", "abc", true), ("a*c", "ab", false), ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxcyyb", false), ("*.v1", "flight.departed.v1", true), ("**", "", true),
        ("a*a", "a", false),
    ])
    func `patterns match`(_ term: String, _ topic: String, _ matches: Bool) {
        #expect(Subscription([term]).matches(topic) == matches)
    }
}
