import MartletSystem
import Synchronization
import Testing

/// The order in which an event loop tells of what is ready at the same time.
struct EventLoopOrderTests {
    private typealias Told = CheckedContinuation<Void, Never>

    /// Two sockets on a loop; the one that comes first was made last.
    private final class Sockets: @unchecked Sendable {
        // Sendable: confined to the loop.
        private let loop: EventLoop
        private var sources: [LoopSource] = []
        private(set) var told: [String] = []
        private var whenTold: Told?

        init(_ loop: EventLoop, to address: SocketAddress) throws {
            self.loop = loop
            sources = [
                LoopSource(
                    socket: try .connect(to: address), loop: loop,
                    onWritable: { [unowned self] in tell("last") }),
                LoopSource(
                    socket: try .connect(to: address), loop: loop, comesFirst: true,
                    onWritable: { [unowned self] in
                        tell("first")
                        Task(executorPreference: loop) {
                            loop.runInlineOrTrap { self.tell("task") }
                        }
                    }),
            ]
        }

        func arm(_ whenTold: Told) {
            told = []
            self.whenTold = whenTold
            for source in sources { source.armWriting() }
        }

        func cancel() {
            for source in sources { source.cancel() }
        }

        private func tell(_ line: String) {
            told.append(line)
            if told.count == 3 { whenTold?.resume() }
        }
    }

    @Test func `what comes first is told first, and its task runs before the next socket`()
        async throws
    {
        let loop = try EventLoop(label: "test")
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let sockets = try Sockets(loop, to: listener.localAddress())
        // In the first round each becomes writable in its own time, in the second both are.
        for _ in 0..<2 {
            await withCheckedContinuation { (told: Told) in
                loop.execute { sockets.arm(told) }
            }
        }
        await withCheckedContinuation { (done: Told) in
            loop.execute {
                #expect(sockets.told == ["first", "task", "last"])
                sockets.cancel()
                loop.stop { done.resume() }
            }
        }
    }
}

extension EventLoop {
    /// For a task on the loop's thread: nobody else is at work.
    fileprivate func runInlineOrTrap(_ body: () -> Void) {
        precondition(runInline(body))
    }
}
