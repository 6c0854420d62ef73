// Offsets that no record has are in no account of a queue. They are settled before a member is handed
// anything, so that nobody is handed them; until then, looks leave them out.
extension QueueProgress {
    /// What of `gaps` is neither settled nor parked, nor with a member, nor waits for its time: a
    /// record that was so may have been lost since. In order, apart from each other.
    func empty(_ gaps: [Range<Int64>], _ leases: QueueLeases?) -> [Range<Int64>] {
        if gaps.isEmpty { return [] }
        var empty = RangeSet<Int64>()
        for gap in gaps {
            for range in open(in: gap.clamped(to: start..<Int64.max)) {
                empty.insert(contentsOf: range)
            }
        }
        for offset in parked.keys where empty.contains(offset) { empty.remove(offset) }
        if let leases {
            leases.leaveOut(of: &empty)
        } else {
            for offset in delays.keys where empty.contains(offset) { empty.remove(offset) }
        }
        return Array(empty.ranges)
    }
}

extension QueueProgress {
    /// Where the last settled range ends that is not one of `gaps`.
    func settledEnd(besides gaps: [Range<Int64>]) -> Int64 {
        settled.ranges.last { settled in
            !gaps.contains {
                $0.lowerBound <= settled.lowerBound && settled.upperBound <= $0.upperBound
            }
        }?.upperBound ?? 0
    }
}
