/// When something of a queue's partition is over.
struct QueueTimer: Sendable {
    let due: Int64
    let range: Range<Int64>
    /// Of records that were given back; else of a lease.
    let isDelay: Bool
}

/// Timers, the earliest first: a heap.
struct QueueTimers: Sendable {
    private var heap: [QueueTimer] = []

    var count: Int { heap.count }
    var first: QueueTimer? { heap.first }
    var next: Int64? { heap.first?.due }

    mutating func add(_ timer: QueueTimer) {
        heap.append(timer)
        var child = heap.count - 1
        while child > 0, heap[child].due < heap[(child - 1) / 2].due {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// The first if it is due.
    mutating func popFirst(by now: Int64) -> QueueTimer? {
        guard let first = heap.first, first.due <= now else { return nil }
        removeFirst()
        return first
    }

    mutating func removeFirst() {
        guard let last = heap.popLast(), !heap.isEmpty else { return }
        heap[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, heap[child + 1].due < heap[child].due { child += 1 }
            guard heap[child].due < heap[parent].due else { return }
            heap.swapAt(child, parent)
            parent = child
        }
    }

    mutating func removeAll(where isOver: (QueueTimer) -> Bool) {
        let kept = heap.filter { !isOver($0) }
        heap = []
        for timer in kept { add(timer) }
    }
}
