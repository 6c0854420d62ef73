/// Offsets that are settled because their records are dead letters, of which nobody may say that they
/// are handled. Follows from the letters, and is empty in a group without them.
struct DeadPlaces: Equatable, Sendable {
    /// With the number of the letter.
    private var letters: [QueueID: [Int64: UInt64]] = [:]

    var isEmpty: Bool { letters.isEmpty }

    mutating func insert(_ place: RecordPlace, of letter: UInt64) {
        letters[place.queue, default: [:]][place.offset] = letter
    }

    /// Unless another letter has settled it since.
    mutating func remove(_ place: RecordPlace, of letter: UInt64) {
        guard letters[place.queue]?[place.offset] == letter else { return }
        letters[place.queue]?[place.offset] = nil
        if letters[place.queue]?.isEmpty == true { letters[place.queue] = nil }
    }

    /// Those in `ranges`, with the numbers of their letters.
    func letters(in ranges: [Range<Int64>], of queue: QueueID) -> [(place: RecordPlace, UInt64)] {
        guard let dead = letters[queue] else { return [] }
        return ranges.flatMap { offsets(in: $0, of: dead) }.sorted().compactMap { offset in
            dead[offset].map { (RecordPlace(queue, offset), $0) }
        }
    }

    /// The first of them; `ranges` are in order.
    func first(in ranges: [Range<Int64>], of queue: QueueID) -> Int64? {
        guard let dead = letters[queue] else { return nil }
        for range in ranges {
            if let first = offsets(in: range, of: dead).min() { return first }
        }
        return nil
    }

    /// In as many steps as the smaller of both has.
    private func offsets(in range: Range<Int64>, of dead: [Int64: UInt64]) -> [Int64] {
        range.count < dead.count
            ? range.filter { dead[$0] != nil } : dead.keys.filter(range.contains)
    }
}

/// Where dead letters are, and their records.
struct LetterIndex: Equatable, Sendable {
    /// Letters on the lane, by their places.
    var onLane: [Int64: UInt64] = [:]
    var dead = DeadPlaces()

    var isEmpty: Bool { onLane.isEmpty && dead.isEmpty }
}

extension Coordinator {
    /// The first record of `range` that is dead, and nothing else: nobody may handle it but as a dead
    /// letter.
    func firstDead(
        _ name: String, _ range: Range<Int64>, of queue: QueueID, _ progress: QueueProgress
    ) -> Int64? {
        guard limits.plantedBug != .takeLateAcks,
            groups[name]?.state.letters.places.isEmpty == false
        else { return nil }
        let settled = progress.settled.pieces(in: range)
        return groups[name]?.state.letters.places.first(in: settled, of: queue)
    }
}
