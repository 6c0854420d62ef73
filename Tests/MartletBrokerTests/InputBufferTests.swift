import MartletFormat
import MartletSystem
import Testing

@testable import MartletBroker

@Suite struct InputBufferTests {
    @Test func `memory grows with what arrived, never with what was announced`() throws {
        let (near, far) = try connectedPair()
        let budget = MemoryBudget(limit: 1 << 30)
        var input = InputBuffer(pool: SlabPool(retainedBytesMax: 1 << 20), budget: budget)
        var received = 0
        let total = 3_000_000
        let chunk = [UInt8](repeating: 7, count: 50_000)
        while received < total {
            _ = try unsafe chunk.withUnsafeBytes { bytes in try unsafe far.send(bytes) }
            let hasRoom = input.makeRoom(initialBytes: 4_096)
            #expect(hasRoom)
            input.wait(for: total)
            let (result, _) = try input.receive(from: near)
            if case .count(let count) = result { received += count }
            // At most twice what arrived, beyond the first slab.
            #expect(budget.heldBytes <= max(4_096, 2 * received + 4_096))
        }
        #expect(input.pendingBytes == total)
        input.consume(upTo: total)
        input.release()
        #expect(budget.heldBytes == 0)
    }

    @Test func `without budget nothing is taken and nothing changes`() throws {
        let budget = MemoryBudget(limit: 6_000)
        var first = InputBuffer(pool: SlabPool(retainedBytesMax: 0), budget: budget)
        var second = InputBuffer(pool: SlabPool(retainedBytesMax: 0), budget: budget)
        let firstFits = first.makeRoom(initialBytes: 4_096)
        let secondFits = second.makeRoom(initialBytes: 4_096)
        #expect(firstFits && !secondFits)
        #expect(budget.heldBytes == 4_096)
        first.close()
        let nowFits = second.makeRoom(initialBytes: 4_096)
        #expect(nowFits)
        second.close()
        #expect(budget.heldBytes == 0)
    }

    /// Two ends of one connection.
    private func connectedPair() throws -> (Socket, Socket) {
        let listener = try Socket.listen(on: try SocketAddress(parsing: "127.0.0.1:0"))
        let far = try Socket.connect(to: try listener.localAddress())
        while true {
            if case .connection(let near, _) = try listener.accept() { return (near, far) }
        }
    }
}
