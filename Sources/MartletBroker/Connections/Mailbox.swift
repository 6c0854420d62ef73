import MartletSystem
import Synchronization

/// Carries items from any thread to the one queue that owns what they are about.
///
/// The first item after an empty mailbox schedules one drain; whatever is posted until the drain
/// runs rides with it. So a thousand wake-ups at once cost one hop.
final class Mailbox<Item: Sendable>: Sendable {
    private let waiting = Mutex<[Item]>([])
    private let executor: any Executor
    /// Set once by the owner before anything is posted. In an object of its own, because a closure
    /// that a generic lock hands out and takes back is wrapped once more each time.
    private let receiver = Mutex<Receiver?>(nil)

    private final class Receiver: Sendable {
        let receive: @Sendable ([Item]) -> Void

        init(_ receive: @escaping @Sendable ([Item]) -> Void) {
            self.receive = receive
        }
    }

    init(executor: any Executor) {
        self.executor = executor
    }

    /// Names who takes the items, on the mailbox's executor, in the order in which they came.
    func connect(_ receive: @escaping @Sendable ([Item]) -> Void) {
        let new = Receiver(receive)
        receiver.withLock { $0 = new }
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
        receiver.withLock { $0 }?.receive(items)
    }
}
