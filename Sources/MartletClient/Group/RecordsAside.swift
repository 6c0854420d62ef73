/// Records of a partition that nobody handles for now: what is parked, and what waits behind it. They
/// are not done, so each run of them is a hole in what a commit says.
///
/// A key is a hash with a seed of the process: two keys with one hash only wait for each other.
struct RecordsAside {
    /// No more holes than so many: with those that handlers make they fit into a commit.
    static let holesMax = 3_000

    /// Read, and not handled.
    private(set) var offsets = RangeSet<Int64>()
    /// Parked before the partition came to this member, and not read yet; and whether with their keys.
    private var expected: [Int64: Bool] = [:]
    /// Of each parked key, where it begins.
    private var keys: [Int: Int64] = [:]

    init(expecting parked: [Int64: Bool] = [:]) {
        expected = parked
    }

    var isEmpty: Bool { offsets.isEmpty }
    var first: Int64? { offsets.ranges.first?.lowerBound }
    var isFull: Bool { offsets.ranges.count > Self.holesMax }

    /// The broker said so.
    ///
    /// - Parameter key: of the record, when later ones of it wait; nil: they go on.
    mutating func park(_ offset: Int64, key: Int?) {
        offsets.insert(contentsOf: offset..<(offset + 1))
        if let key { keys[key] = min(keys[key] ?? offset, offset) }
    }

    /// Whether a record is not to be handled now: then it is here. `key` is asked for only when it
    /// matters.
    mutating func takes(_ offset: Int64, _ key: () -> Int?) -> Bool {
        if !expected.isEmpty, let isKey = expected.removeValue(forKey: offset) {
            park(offset, key: isKey ? key() : nil)
            return true
        }
        guard !keys.isEmpty, !PlantedBug.passParkedKeys.isOn, let key = key(),
            let from = keys[key], offset > from
        else { return false }
        offsets.insert(contentsOf: offset..<(offset + 1))
        return true
    }
}
