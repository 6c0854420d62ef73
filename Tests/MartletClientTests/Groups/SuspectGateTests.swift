import Testing

@testable import MartletClient

/// Who may be with a handler beside whom, of records that may end the process.
@Suite(.timeLimit(.minutes(1))) struct SuspectGateTests {
    private let gate = SuspectGate()

    private func delivery() -> Delivery {
        let key = OwnedKey(name: TopicPartition("t", 0), topic: GroupCore.newMember(), epoch: 1)
        return Delivery(key, from: 0, suspectBelow: 10)
    }

    /// nil: there is no place now.
    private func look(_ delivery: Delivery, isAlone: Bool) async -> SuspectGate.Place? {
        let looks = Promise<Void>()
        return await gate.enter(delivery, isAlone: isAlone) { looks.resolve(.success(())) }
    }

    @Test func `some are beside each other, and one that is alone waits until they are gone`()
        async throws
    {
        let first = try #require(await look(delivery(), isAlone: false))
        let second = try #require(await look(delivery(), isAlone: false))
        #expect(await look(delivery(), isAlone: true) == nil)
        gate.leave(first)
        #expect(await look(delivery(), isAlone: true) == nil)
        gate.leave(second)
        let alone = try #require(await look(delivery(), isAlone: true))
        #expect(await look(delivery(), isAlone: true) == nil)
        #expect(await look(delivery(), isAlone: false) == nil)
        gate.leave(alone)
        #expect(await look(delivery(), isAlone: false) != nil)
    }

    @Test func `who waits to be alone is not passed by others for ever`() async throws {
        let first = try #require(await look(delivery(), isAlone: false))
        let gate = gate
        let delivery = delivery()
        let asked = Promise<Void>()
        let waits = Task {
            await gate.enter(delivery, isAlone: true) {
                asked.resolve(.success(()))
                return true
            }
        }
        try await asked.value()
        #expect(await look(self.delivery(), isAlone: false) == nil)
        gate.leave(first)
        let alone = try #require(await waits.value)
        #expect(await look(self.delivery(), isAlone: false) == nil)
        gate.leave(alone)
    }

    @Test func `one that is another member's by now holds up nobody`() async throws {
        let lost = delivery()
        let place = try #require(await look(lost, isAlone: true))
        #expect(await look(delivery(), isAlone: true) == nil)
        lost.cutShort()
        let alone = try #require(await look(delivery(), isAlone: true))
        // Its end is not that of the other.
        gate.leave(place)
        #expect(await look(delivery(), isAlone: false) == nil)
        gate.leave(alone)
        #expect(await look(delivery(), isAlone: false) != nil)
    }

    @Test func `who must not wait any more gets no place`() async {
        #expect(await gate.enter(delivery(), isAlone: true) { false } == nil)
        #expect(await look(delivery(), isAlone: false) != nil)
    }
}
