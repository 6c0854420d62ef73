// What is known of offsets that were never given, or are lost, in a partition.
extension [Range<Int64>] {
    /// Whether nothing between two offsets was ever there: they are the same, or one gap reaches
    /// from the first to the second, or several that follow each other, as several unclean stops
    /// without an append between them leave them.
    func join(_ from: Int64, to: Int64) -> Bool {
        var at = from
        while at < to {
            let ends = lazy.filter { $0.contains(at) && $0.upperBound <= to }.map(\.upperBound)
            guard let next = ends.max() else { return false }
            at = next
        }
        return at == to
    }

    /// The same offsets in as few ranges as possible.
    ///
    /// Precondition: in order of their beginnings.
    package func joined() -> [Range<Int64>] {
        reduce(into: []) { ranges, next in
            if let last = ranges.last, next.lowerBound <= last.upperBound {
                ranges[ranges.count - 1] =
                    last.lowerBound..<Swift.max(last.upperBound, next.upperBound)
            } else {
                ranges.append(next)
            }
        }
    }

    /// Where the offsets from `start` on begin that were there once: behind the gaps that begin at
    /// it and end before `ceiling`.
    func start(from start: Int64, below ceiling: Int64) -> Int64 {
        var start = start
        while let gap = first(where: { $0.contains(start) && $0.upperBound < ceiling }) {
            start = gap.upperBound
        }
        return start
    }

    /// Where the offsets below `end` end that were there once: without the gaps that reach up to
    /// it and begin at `floor` or above.
    func end(before end: Int64, downTo floor: Int64) -> Int64 {
        var end = end
        while let gap = first(where: {
            $0.lowerBound >= floor && $0.lowerBound < end && $0.upperBound >= end
        }) {
            end = gap.lowerBound
        }
        return end
    }
}
