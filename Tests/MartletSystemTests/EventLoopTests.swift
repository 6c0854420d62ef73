import Dispatch
import MartletSystem
import Synchronization
import Testing

struct EventLoopTests {
    private static func stop(_ loop: EventLoop) async {
        await withCheckedContinuation { continuation in
            loop.stop { continuation.resume() }
        }
    }

    @Test func `jobs run in order, one at a time, on the loop`() async throws {
        let loop = try EventLoop(label: "test")
        let seen = Mutex<[Int]>([])
        await withCheckedContinuation { continuation in
            for number in 0..<1_000 {
                loop.execute {
                    loop.assertCurrent()
                    seen.withLock { $0.append(number) }
                    if number == 999 { continuation.resume() }
                }
            }
        }
        #expect(seen.withLock { $0 } == Array(0..<1_000))
        #expect(!loop.isCurrent)
        await Self.stop(loop)
    }

    @Test func `timers run in the order of their instants`() async throws {
        let loop = try EventLoop(label: "test")
        let seen = Mutex<[Int]>([])
        await withCheckedContinuation { continuation in
            loop.execute(after: 20_000_000) {
                seen.withLock { $0.append(3) }
                continuation.resume()
            }
            loop.execute(after: 1_000_000) { seen.withLock { $0.append(1) } }
            loop.execute(after: 1_000_001) { seen.withLock { $0.append(2) } }
        }
        #expect(seen.withLock { $0 } == [1, 2, 3])
        await Self.stop(loop)
    }

    @Test func `a caller may run its job itself, but never beside another`() async throws {
        let loop = try EventLoop(label: "test")
        let counter = OneAtATime()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<2_000 {
                        let job: @Sendable () -> Void = {
                            loop.assertCurrent()
                            counter.run()
                        }
                        if !loop.runInline(job) { loop.execute(job) }
                    }
                }
            }
        }
        await Self.stop(loop)
        #expect(counter.total == 8_000)
    }

    @Test func `after stop jobs run on their givers' threads`() async throws {
        let loop = try EventLoop(label: "test")
        await Self.stop(loop)
        let count = Mutex(0)
        loop.execute {
            loop.execute { count.withLock { $0 += 1 } }
            count.withLock { $0 += 1 }
        }
        #expect(count.withLock { $0 } == 2)
        #expect(!loop.runInline {})
    }

    @Test func `a socket is told to be writable, readable and ended`() async throws {
        let loop = try EventLoop(label: "test")
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let client = try Socket.connect(to: listener.localAddress())
        let log = Mutex<[String]>([])
        let source = Mutex<LoopSource?>(nil)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            loop.execute {
                let made = LoopSource(
                    socket: client, loop: loop,
                    onReadable: {
                        let result = receiveOnce(client)
                        log.withLock { $0.append(result) }
                        guard result == "end" else { return }
                        source.withLock { $0?.cancel() }
                        continuation.resume()
                    },
                    onWritable: {
                        log.withLock { $0.append("writable") }
                        acceptAndSend(listener)
                    })
                source.withLock { $0 = made }
                made.armWriting()
                made.resumeReading()
            }
        }
        #expect(log.withLock { $0 } == ["writable", "5 bytes", "end"])
        #expect(client.descriptor == -1)
        await Self.stop(loop)
    }
}

/// Notices when two threads are in it.
private final class OneAtATime: Sendable {
    private let running = Atomic(0)
    private let count = Mutex(0)

    var total: Int { count.withLock { $0 } }

    func run() {
        #expect(running.wrappingAdd(1, ordering: .relaxed).oldValue == 0)
        count.withLock { $0 += 1 }
        running.wrappingSubtract(1, ordering: .relaxed)
    }
}

private func receiveOnce(_ socket: Socket) -> String {
    var bytes = [UInt8](repeating: 0, count: 64)
    let result = unsafe bytes.withUnsafeMutableBytes { unsafe try? socket.receive(into: $0) }
    switch result {
    case .count(let count): return "\(count) bytes"
    case .endOfStream: return "end"
    case .wouldBlock: return "nothing"
    case nil: return "error"
    }
}

private func acceptAndSend(_ listener: Socket) {
    guard case .connection(let peer, _)? = try? listener.accept() else { return }
    let bytes = Array("hello".utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe try? peer.send($0) }
    peer.close()
}
