import MartletSystem
import Synchronization

/// Carries items from any thread to the one queue that owns what they are about.
///
/// The first item after an empty mailbox schedules one drain; whatever is posted until the drain
/// runs rides with it. So a thousand wake-ups at once cost one hop.
final class Mailbox<Item: Sendable>: Sendable {
    private let waiting = Mutex<[Item]>([])
    private let executor: any Executor
    /// Set once by the owner before anything is posted.
    private let receiver = Mutex<(@Sendable (inout [Item]) -> Void)?>(nil)

    init(executor: any Executor) {
        self.executor = executor
    }

    /// Names who takes the items, on the mailbox's executor, in the order in which they came.
    func connect(_ receive: @escaping @Sendable (inout [Item]) -> Void) {
        receiver.withLock { $0 = receive }
    }

    func post(_ item: Item) {
        let wasEmpty = waiting.withLock { items in
            items.append(item)
            return items.count == 1
        }
        if wasEmpty { executor.execute { self.drain() } }
    }

    private func drain() {
        var items: [Item] = []
        waiting.withLock { swap(&items, &$0) }
        guard let receive = receiver.withLock({ $0 }) else { return }
        receive(&items)
    }
}
