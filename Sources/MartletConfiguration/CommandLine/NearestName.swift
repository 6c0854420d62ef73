/// Finds what someone meant to type.
package enum NearestName {
    /// The candidate with the fewest edits (insert, delete, replace, swap of neighbours), when they
    /// are few for its length; the first in alphabetical order among equals.
    package static func find(_ name: String, in candidates: some Sequence<String>) -> String? {
        // Nobody means a short name by a very long text, and the comparison is quadratic.
        guard !name.isEmpty, name.utf8.count <= 64 else { return nil }
        var best: (name: String, distance: Int)?
        for candidate in candidates.sorted() {
            let edits = distance(Array(name.lowercased().utf8), Array(candidate.lowercased().utf8))
            guard edits <= max(1, min(name.utf8.count, candidate.utf8.count) / 3) else { continue }
            if edits < best?.distance ?? .max { best = (candidate, edits) }
        }
        return best?.name
    }

    /// `; did you mean 'x'?`, or nothing.
    package static func suggestion(for name: String, in candidates: some Sequence<String>) -> String
    {
        find(name, in: candidates).map { "; did you mean '\($0)'?" } ?? ""
    }

    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for (row, leftByte) in left.enumerated() {
            var current = [row + 1]
            for (column, rightByte) in right.enumerated() {
                let replaced = last[column] + (leftByte == rightByte ? 0 : 1)
                var edits = min(replaced, last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, leftByte == right[column - 1], left[row - 1] == rightByte {
                    edits = min(edits, beforeLast[column - 1] + 1)
                }
                current.append(edits)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }
}
