import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@Suite struct ThreadQueueTests {
    @Test func `many threads post, each keeps its order and nothing is lost`() {
        let target = ThreadQueue(label: "target")
        let posters = (0..<8).map { ThreadQueue(label: "poster.\($0)") }
        let seen = Mutex<[Int: [Int]]>([:])
        let done = Latch(8 * 2_000)
        for (poster, queue) in posters.enumerated() {
            queue.execute {
                for number in 0..<2_000 {
                    target.execute {
                        seen.withLock { $0[poster, default: []].append(number) }
                        done.arrive()
                    }
                }
            }
        }
        #expect(done.wait())
        for poster in 0..<8 {
            #expect(seen.withLock { $0[poster] } == Array(0..<2_000))
        }
    }

    @Test func `a job may add jobs`() {
        let queue = ThreadQueue(label: "chain")
        let done = Latch(1_000)
        @Sendable func step(_ left: Int) {
            done.arrive()
            if left > 1 { queue.execute { step(left - 1) } }
        }
        queue.execute { step(1_000) }
        #expect(done.wait())
    }

    @Test func `a delayed job runs, also when nobody holds the queue any more`() {
        let done = Latch()
        ThreadQueue(label: "delayed").execute(after: 1_000_000) { done.arrive() }
        #expect(done.wait())
    }

    @Test func `what was given is run when the queue is dropped, and its jobs are freed`() {
        final class Witness: Sendable {
            let done: Latch
            init(_ done: Latch) { self.done = done }
            deinit { done.arrive() }
        }
        let ran = Latch(100)
        let freed = Latch(100)
        do {
            let queue = ThreadQueue(label: "dropped")
            for _ in 0..<100 {
                let witness = Witness(freed)
                queue.execute { withExtendedLifetime(witness) { ran.arrive() } }
            }
        }
        #expect(ran.wait())
        #expect(freed.wait())
    }
}
