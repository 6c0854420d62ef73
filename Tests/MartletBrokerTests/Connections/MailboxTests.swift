import MartletTestSupport
import Synchronization
import Testing

@testable import MartletBroker

@Suite struct MailboxTests {
    @Test func `items posted before a drain ride with it, in order`() {
        let executor = ManualExecutor(clock: ManualClock())
        let mailbox = Mailbox<Int>(executor: executor)
        let drains = Mutex<[[Int]]>([])
        mailbox.connect { items in drains.withLock { $0.append(items) } }
        for item in 0..<5 { mailbox.post(item) }
        executor.runAll()
        mailbox.post(5)
        executor.runAll()
        #expect(drains.withLock { $0 } == [[0, 1, 2, 3, 4], [5]])
    }

    @Test func `a drain costs the same after very many drains`() {
        // A receiver that is wrapped once more by each drain would end in a stack overflow.
        let executor = ManualExecutor(clock: ManualClock())
        let mailbox = Mailbox<Int>(executor: executor)
        let sum = Atomic<Int>(0)
        mailbox.connect { items in
            for item in items { sum.wrappingAdd(item, ordering: .relaxed) }
        }
        for _ in 0..<200_000 {
            mailbox.post(1)
            executor.runAll()
        }
        #expect(sum.load(ordering: .relaxed) == 200_000)
    }
}
