/// First in, first out, in one array: removing does not move what is left.
struct Fifo<Element> {
    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == storage.count }
    var count: Int { storage.count - head }
    var first: Element? { head < storage.count ? storage[head] : nil }

    mutating func append(_ element: Element) {
        storage.append(element)
    }

    /// Puts an element before all others.
    mutating func prepend(_ element: Element) {
        storage.replaceSubrange(..<head, with: [element])
        head = 0
    }

    mutating func popFirst() -> Element? {
        guard head < storage.count else { return nil }
        let element = storage[head]
        storage[head] = nil
        head += 1
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= 1_024)
            head = 0
        } else if head >= 1_024, head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return element
    }

    mutating func removeAll() -> [Element] {
        let rest = storage[head...].compactMap { $0 }
        storage.removeAll()
        head = 0
        return rest
    }

    /// Keeps the elements that `isKept` says yes to; returns the others.
    mutating func removeAll(unless isKept: (Element) -> Bool) -> [Element] {
        var removed: [Element] = []
        var kept: [Element?] = []
        for element in storage[head...].compactMap({ $0 }) {
            if isKept(element) { kept.append(element) } else { removed.append(element) }
        }
        storage = kept
        head = 0
        return removed
    }

    /// Changes the last element that is wanted; false when there is none.
    mutating func changeLast(
        where isWanted: (Element) -> Bool, _ change: (inout Element) -> Void
    ) -> Bool {
        for index in storage[head...].indices.reversed() {
            guard var element = storage[index], isWanted(element) else { continue }
            change(&element)
            storage[index] = element
            return true
        }
        return false
    }

    /// The first `count` elements, fewer when there are fewer.
    func prefix(_ count: Int) -> [Element] {
        storage[head..<min(storage.count, head + count)].compactMap { $0 }
    }

    var elements: [Element] { storage[head...].compactMap { $0 } }
}
