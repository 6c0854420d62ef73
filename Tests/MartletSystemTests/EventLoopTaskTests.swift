import Glibc
import MartletSystem
import Synchronization
import Testing

/// Tasks that prefer an event loop.
struct EventLoopTaskTests {
    private static var thread: UInt { UInt(pthread_self()) }

    private static func threadOfJobs(_ loop: EventLoop) async -> UInt {
        await withCheckedContinuation { continuation in
            loop.execute { continuation.resume(returning: thread) }
        }
    }

    private static func stop(_ loop: EventLoop) async {
        await withCheckedContinuation { continuation in
            loop.stop { continuation.resume() }
        }
    }

    @Test func `a task runs on the loop's thread, without the baton, before and after it waited`()
        async throws
    {
        let loop = try EventLoop(label: "test")
        let thread = await Self.threadOfJobs(loop)
        let seen = await Task(executorPreference: loop) {
            var seen = [Self.thread]
            // The answer of a job comes on the loop; that of another task from elsewhere.
            seen.append(await Self.threadOfJobs(loop))
            seen.append(Self.thread)
            await Task.detached {}.value
            seen.append(Self.thread)
            return (threads: seen, holdsBaton: loop.isCurrent)
        }.value
        #expect(seen.threads == [thread, thread, thread, thread])
        #expect(!seen.holdsBaton)
        await Self.stop(loop)
    }

    @Test func `a task may do the loop's work itself`() async throws {
        let loop = try EventLoop(label: "test")
        let ran = await Task(executorPreference: loop) {
            loop.runInline { loop.assertCurrent() }
        }.value
        #expect(ran)
        await Self.stop(loop)
    }

    @Test func `jobs, timers and sockets have their turns beside tasks that never rest`()
        async throws
    {
        let loop = try EventLoop(label: "test")
        let isOver = Flag()
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let socket = try Socket.connect(to: listener.localAddress())
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask(executorPreference: loop) {
                    while !isOver.isSet { await Task.yield() }
                }
            }
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                loop.execute {
                    loop.execute(after: 1_000_000) {
                        // Writable at once: told by the wait, which the tasks must not starve.
                        let source = Mutex<LoopSource?>(nil)
                        let made = LoopSource(
                            socket: socket, loop: loop,
                            onWritable: {
                                source.withLock { $0?.cancel() }
                                continuation.resume()
                            })
                        source.withLock { $0 = made }
                        made.armWriting()
                    }
                }
            }
            isOver.set()
        }
        await Self.stop(loop)
    }

    @Test func `no task is lost when the loop ends: it goes on elsewhere`() async throws {
        for _ in 0..<50 {
            let loop = try EventLoop(label: "test")
            let tasks = (0..<20).map { number in
                Task(executorPreference: loop) {
                    for _ in 0..<number { await Task.yield() }
                    return number
                }
            }
            // Some are in the queue, some under way, some not begun.
            await Task(executorPreference: loop) { await Self.stop(loop) }.value
            var sum = 0
            for task in tasks { sum += await task.value }
            #expect(sum == 190)
            let late = await Task(executorPreference: loop) { 7 }.value
            #expect(late == 7)
        }
    }
}

private final class Flag: Sendable {
    private let value = Atomic(false)

    var isSet: Bool { value.load(ordering: .relaxed) }

    func set() { value.store(true, ordering: .relaxed) }
}
