import Glibc
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

/// A number that several threads count.
final class Counter: Sendable {
    private let number = Atomic(0)
    var value: Int { number.load(ordering: .acquiring) }
    func add(_ more: Int = 1) { number.add(more, ordering: .acquiringAndReleasing) }
}

@Suite struct SerialQueueTests {
    @Test func `jobs of one thread run in order, one at a time`() {
        let queue = SerialQueue(label: "order")
        let seen = Mutex<[Int]>([])
        let done = Latch()
        for number in 0..<10_000 {
            queue.execute { seen.withLock { $0.append(number) } }
        }
        queue.execute { done.arrive() }
        #expect(done.wait())
        #expect(seen.withLock { $0 } == Array(0..<10_000))
    }

    @Test func `many threads post, each keeps its order and nothing is lost`() {
        let target = SerialQueue(label: "target")
        let seen = Mutex<[Int: [Int]]>([:])
        let done = Latch(8 * 2_000)
        for poster in 0..<8 {
            SerialQueue(label: "poster").execute {
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
        let queue = SerialQueue(label: "chain")
        let done = Latch(1_000)
        @Sendable func step(_ left: Int) {
            done.arrive()
            if left > 1 { queue.execute { step(left - 1) } }
        }
        queue.execute { step(1_000) }
        #expect(done.wait())
    }

    @Test func `the queue knows whether it is current`() {
        let queue = SerialQueue(label: "mine")
        let other = SerialQueue(label: "other")
        let done = Latch(2)
        #expect(!queue.isCurrent)
        queue.execute {
            queue.assertCurrent()
            #expect(queue.isCurrent)
            #expect(!other.isCurrent)
            done.arrive()
        }
        queue.execute(after: 1_000) {
            #expect(queue.isCurrent)
            done.arrive()
        }
        #expect(done.wait())
    }

    @Test func `a timer never fires early, and a past one fires`() {
        let clock = SystemClock()
        let queue = SerialQueue(label: "timer")
        let done = Latch(2)
        let start = clock.monotonicNanoseconds()
        queue.execute(after: 20_000_000) {
            #expect(clock.monotonicNanoseconds() - start >= 20_000_000)
            done.arrive()
        }
        queue.execute(after: -5) { done.arrive() }
        #expect(done.wait())
    }

    @Test func `a queue that keeps its thread needs no other one`() throws {
        let queue = SerialQueue(label: "kept")
        try queue.keepThread()
        let threads = Mutex<Set<UInt>>([])
        let end = Latch()
        for _ in 0..<16 {
            let ran = Latch()
            queue.execute {
                threads.withLock { _ = $0.insert(UInt(pthread_self())) }
                ran.arrive()
            }
            #expect(ran.wait())
            // A thread that went back to Dispatch is held here from now on.
            SerialQueue(label: "holder").execute { _ = end.wait() }
        }
        #expect(threads.withLock { $0.count } == 1)
        end.arrive()
        queue.releaseThread()
        let ran = Latch()
        queue.execute { ran.arrive() }
        #expect(ran.wait())
    }

    @Test func `a queue that let its thread go is freed`() throws {
        weak var gone: SerialQueue?
        do {
            let queue = SerialQueue(label: "kept")
            gone = queue
            try queue.keepThread()
            queue.releaseThread()
        }
        let clock = SystemClock()
        let deadline = clock.monotonicNanoseconds() + 60_000_000_000
        while gone != nil, clock.monotonicNanoseconds() < deadline { sched_yield() }
        #expect(gone == nil)
    }

    @Test func `the clocks go`() {
        let clock = SystemClock()
        let first = clock.monotonicNanoseconds()
        #expect(clock.monotonicNanoseconds() >= first)
        // 2020-01-01: whoever runs this later than that has a clock that is set.
        #expect(clock.wallMilliseconds() > 1_577_836_800_000)
    }
}
