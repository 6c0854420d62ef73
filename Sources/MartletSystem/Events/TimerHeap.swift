/// Jobs that are due at some time, the next one first; a heap by due time, then by arrival.
struct TimerHeap {
    typealias Job = @Sendable () -> Void

    private struct Entry {
        let due: Int64
        let number: UInt64
        let job: Job

        func isBefore(_ other: Entry) -> Bool { (due, number) < (other.due, other.number) }
    }

    private var entries: [Entry] = []
    private var lastNumber: UInt64 = 0

    /// When the next one is due; for ever away when there is none.
    var nextDue: Int64 { entries.first?.due ?? .max }

    /// When something is due that is to run so long from now.
    static func due(_ nanoseconds: Int64, after now: Int64) -> Int64 {
        let (sum, overflow) = now.addingReportingOverflow(max(nanoseconds, 0))
        return overflow ? .max : sum
    }

    mutating func push(due: Int64, _ job: @escaping Job) {
        lastNumber += 1
        entries.append(Entry(due: due, number: lastNumber, job: job))
        var index = entries.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard entries[index].isBefore(entries[parent]) else { break }
            entries.swapAt(index, parent)
            index = parent
        }
    }

    /// Takes the next one out if it is due.
    mutating func pop(now: Int64) -> Job? {
        guard let first = entries.first, first.due <= now else { return nil }
        entries.swapAt(0, entries.count - 1)
        entries.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < entries.count && entries[child].isBefore(entries[least]) {
                least = child
            }
            if least == index { return first.job }
            entries.swapAt(index, least)
            index = least
        }
    }
}
