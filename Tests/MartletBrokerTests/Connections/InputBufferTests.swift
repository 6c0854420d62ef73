import MartletFormat
import MartletSystem
import Synchronization
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
            // At most twice what arrived; the first slab is its own.
            #expect(budget.heldBytes <= 2 * received)
        }
        #expect(input.pendingBytes == total)
        input.consume(upTo: total)
        input.release()
        #expect(budget.heldBytes == 0)
    }

    @Test func `without budget there is the own slab, and nothing beyond it`() throws {
        let (near, far) = try connectedPair()
        let budget = MemoryBudget(limit: 100_000)
        var first = InputBuffer(pool: SlabPool(retainedBytesMax: 0), budget: budget)
        var second = InputBuffer(pool: SlabPool(retainedBytesMax: 0), budget: budget)
        let firstFits = first.makeRoom(initialBytes: InputBuffer.slabBytes)
        let secondFits = second.makeRoom(initialBytes: InputBuffer.slabBytes)
        #expect(firstFits && secondFits)
        #expect(budget.heldBytes == InputBuffer.slabBytes)
        #expect(first.holdsSharedMemory && !second.holdsSharedMemory)
        // It grows to 16 KiB; 32 KiB beside these and the other's 64 KiB are too much.
        let content = [UInt8](repeating: 7, count: 40_000)
        _ = try unsafe content.withUnsafeBytes { bytes in try unsafe far.send(bytes) }
        var hasRoom = true
        while hasRoom {
            _ = try second.receive(from: near)
            hasRoom = second.makeRoom(initialBytes: 4_096)
        }
        #expect(second.pendingBytes == 16_384)
        #expect(budget.heldBytes == 65_536 + 16_384)
        first.close()
        let nowFits = second.makeRoom(initialBytes: 4_096)
        #expect(nowFits)
        second.close()
        #expect(budget.heldBytes == 0)
    }

    @Test func `memory that the system refuses is like memory that others hold`() throws {
        let (near, far) = try connectedPair()
        let budget = MemoryBudget(limit: 1 << 30)
        let most = Mutex(16_384)
        let pool = SlabPool(retainedBytesMax: 0) { capacity in
            most.withLock { capacity <= $0 } ? ByteSlab(capacity: capacity) : nil
        }
        var input = InputBuffer(pool: pool, budget: budget)
        let content = [UInt8](repeating: 7, count: 40_000)
        _ = try unsafe content.withUnsafeBytes { bytes in try unsafe far.send(bytes) }
        var hasRoom = input.makeRoom(initialBytes: InputBuffer.slabBytes)
        #expect(hasRoom)
        while hasRoom {
            _ = try input.receive(from: near)
            hasRoom = input.makeRoom(initialBytes: 4_096)
        }
        #expect(input.pendingBytes == 16_384)
        #expect(budget.heldBytes == 16_384)
        most.withLock { $0 = 1 << 20 }
        hasRoom = input.makeRoom(initialBytes: 4_096)
        #expect(hasRoom)
        input.close()
        #expect(budget.heldBytes == 0)
        // Not even its own.
        most.withLock { $0 = 0 }
        hasRoom = input.makeRoom(initialBytes: 4_096)
        #expect(!hasRoom)
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
