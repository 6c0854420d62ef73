import MartletWire

/// Where the records of an acknowledged batch are. A stranger's word: nothing is counted on.
struct RecordPlaces {
    private let baseOffset: Int64
    /// Of records that were not stored again.
    private let others: [Int32: Int64]

    init(_ result: ProduceResult) {
        baseOffset = result.baseOffset
        others = Dictionary(
            result.duplicates.map { ($0.index, $0.offset) }, uniquingKeysWith: { first, _ in first }
        )
    }

    var duplicates: Int { others.count }

    func isDuplicate(_ index: Int32) -> Bool { others[index] != nil }

    /// -1: not known.
    func offset(of index: Int32) -> Int64 {
        if let other = others[index] { return max(other, -1) }
        return baseOffset < 0 ? -1 : baseOffset &+ Int64(index)
    }
}
