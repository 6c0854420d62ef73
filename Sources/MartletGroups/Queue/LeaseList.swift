/// Leases in order, apart from each other. In chunks, so that one of a hundred thousand comes and
/// goes without moving the others.
struct LeaseList: Sendable {
    /// None is empty.
    private var chunks: [[QueueLease]] = []
    private(set) var count = 0

    private static let chunkMax = 256

    /// Where the first is that ends above `offset`.
    private func place(above offset: Int64) -> (chunk: Int, index: Int) {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = low + (high - low) / 2
            if chunks[middle].last.map({ $0.range.upperBound > offset }) == true {
                high = middle
            } else {
                low = middle + 1
            }
        }
        guard low < chunks.count else { return (low, 0) }
        return (low, chunks[low].lazy.map(\.range).firstIndex(above: offset))
    }

    /// All that overlap `range`, as long as `body` says so.
    func visit(_ range: Range<Int64>, _ body: (QueueLease) -> Bool) {
        var (chunk, index) = place(above: range.lowerBound)
        while chunk < chunks.count {
            while index < chunks[chunk].count {
                let lease = chunks[chunk][index]
                guard lease.range.lowerBound < range.upperBound, body(lease) else { return }
                index += 1
            }
            (chunk, index) = (chunk + 1, 0)
        }
    }

    /// One that overlaps no other.
    mutating func insert(_ lease: QueueLease) {
        var (chunk, index) = place(above: lease.range.lowerBound)
        if chunk == chunks.count {
            if chunk == 0 { chunks.append([]) } else { chunk -= 1 }
            index = chunks[chunk].count
        }
        chunks[chunk].insert(lease, at: index)
        count += 1
        guard chunks[chunk].count > Self.chunkMax else { return }
        // What grows at its end leaves full chunks behind.
        let isLast = chunk == chunks.count - 1 && index == Self.chunkMax
        let upper = Array(chunks[chunk][(isLast ? index : Self.chunkMax / 2)...])
        chunks[chunk].removeLast(upper.count)
        chunks.insert(upper, at: chunk + 1)
    }

    /// Changes what lies in `range`; leases that cross its borders are split there. What `body` says
    /// false of is taken out. Their ranges stay.
    mutating func update(_ range: Range<Int64>, _ body: (inout QueueLease) -> Bool) {
        split(at: range.lowerBound)
        split(at: range.upperBound)
        var (chunk, index) = place(above: range.lowerBound)
        while chunk < chunks.count {
            var leases = chunks[chunk]
            chunks[chunk] = []
            var kept = index
            while index < leases.count, leases[index].range.lowerBound < range.upperBound {
                var lease = leases[index]
                if body(&lease) {
                    leases[kept] = lease
                    kept += 1
                }
                index += 1
            }
            let isOver = index < leases.count
            count -= index - kept
            leases.removeSubrange(kept..<index)
            chunks[chunk] = leases
            if !tidy(chunk) { chunk += 1 }
            if isOver { return }
            index = 0
        }
    }

    /// Leaves no chunk empty, and few small ones. True when another one is in its place.
    private mutating func tidy(_ chunk: Int) -> Bool {
        if chunks[chunk].isEmpty {
            chunks.remove(at: chunk)
            return true
        }
        if chunk > 0, chunks[chunk - 1].count + chunks[chunk].count <= Self.chunkMax / 2 {
            chunks[chunk - 1] += chunks.remove(at: chunk)
            return true
        }
        return false
    }

    /// Makes `offset` the border of a lease if it lies in one.
    private mutating func split(at offset: Int64) {
        let (chunk, index) = place(above: offset)
        guard chunk < chunks.count, chunks[chunk][index].range.lowerBound < offset else { return }
        var upper = chunks[chunk][index]
        chunks[chunk][index].range = upper.range.lowerBound..<offset
        upper.range = offset..<upper.range.upperBound
        insert(upper)
    }
}
