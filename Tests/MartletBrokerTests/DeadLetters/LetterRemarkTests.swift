import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// What people say about dead letters, over the wire, with the real broker.
@Suite struct LetterRemarkTests {
    @Test func `what is said about a dead letter holds over a restart, and stands in its topic`()
        throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        try #require(try client.produce(topic, makeBatch(2)).error == .none)
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        for offset in Int64(0)..<2 {
            #expect(try queue.fail(delivered, offset, verb: 6, "Broken", "it is") == .none)
        }
        _ = try queue.waitForStored()
        #expect(try queue.assign([1, 7], to: "ann") == [.none, .unknownDeadLetter])
        #expect(try queue.comment([1], "ask the airline") == [.none])
        #expect(try queue.comment([1], "") == [.invalidRequest])
        try harness.stop()

        let again = try BrokerHarness(directory: harness.directory)
        let after = try RawLetters(try again.hello())
        #expect(try eventually { try after.letters().first?.lastPlace == 3 })
        let letters = try after.letters()
        #expect(letters.map(\.assignee) == ["ann", ""] && letters.map(\.remarks) == [2, 0])
        // What would be sent is what died, wherever the last word lies.
        #expect(letters.map(\.place) == [0, 1])
        let dead = try after.topic("q.dlq").id
        let notes = try (Int64(2)..<4).map { try Self.note(after.record(dead, $0)) }
        #expect(
            notes[0].contains("\"kind\":\"assigned\"") && notes[0].contains("\"assignee\":\"ann\""))
        #expect(notes[1].contains("\"note\":\"ask the airline\""))
        #expect(
            notes.allSatisfy { $0.contains("\"author\":\"eve\"") && $0.contains("\"letter\":1") })
        // Said while it is with the group, and kept when it dies once more.
        #expect(try after.replay([1]) == [.none])
        let sent = try #require(try after.receive(wait: 5_000).first)
        #expect(try after.comment([1], "sent again") == [.none])
        #expect(try after.fail(sent, sent.range.from, verb: 6, "Broken", "still") == .none)
        let died = try after.waitForStored()
        #expect(died.deaths == 2 && died.assignee == "ann" && died.remarks == 3 && died.place == 5)
        try again.stop()
    }

    private static func note(_ record: DeadRecord) throws -> String {
        #expect(record.key == nil && record.value == nil)
        return String(decoding: try #require(record.headers.last?.value), as: UTF8.self)
    }
}
