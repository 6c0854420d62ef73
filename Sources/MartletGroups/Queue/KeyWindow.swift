/// Which records of an ordered queue's partition have the same key: a line for each key, of which
/// only the first record may be out. Known of what the broker has read from the log so far, in
/// memory alone.
///
/// Keys are hashes: two keys with one hash only wait for each other. Records without a key are in
/// no line, and nothing is kept of them.
struct KeyWindow: Sendable {
    /// A record with a key that is not settled.
    private struct Place {
        let hash: UInt64
        /// The next record of its line.
        var next: Int64 = KeyWindow.none
        var standing = Standing.inLine
    }

    private enum Standing {
        case inLine
        /// Parked by itself: its key goes on without it.
        case aside
        /// Behind a key that is parked, and remembered because something else is known of it.
        case behind
    }

    private struct Line {
        var first: Int64
        var last: Int64
        /// A record that is out although it is not the first: somebody had it when an earlier one was
        /// released. Until it is back nothing else of the line goes out.
        var busy = KeyWindow.none
    }

    /// A line whose key is parked. What lies behind is not kept, and is read again later.
    private struct Cut {
        /// The parked record, the last of what is left of the line.
        let by: Int64
        /// The first that is left out; `Int64.max`: there is none so far.
        var from: Int64
    }

    fileprivate static let none: Int64 = -1

    private var places: [Int64: Place] = [:]
    private var lines: [UInt64: Line] = [:]
    private var cuts: [UInt64: Cut] = [:]
    /// What is to be read next: from the end on, or what was left out of a line that goes on.
    private(set) var position: Int64
    /// Everything below was read.
    private(set) var end: Int64
    /// The broker is reading.
    var isReading = false

    init(from start: Int64) {
        (position, end) = (start, start)
    }

    /// Records that it knows: what memory is spent on.
    var count: Int { places.count }

    // MARK: - Reading

    /// All up to here is read.
    mutating func read(to offset: Int64) {
        position = max(position, offset)
        end = max(end, position)
    }

    /// A record that was read. `isKnown`: it is worth remembering also when it is left out. True:
    /// it is the first of its key.
    mutating func add(
        _ offset: Int64, _ hash: UInt64, parked: ParkedRecord?, isKnown: Bool
    ) -> Bool {
        let former = places[offset]
        guard former == nil || former?.standing == .behind else { return false }
        if let cut = cuts[hash] {
            cuts[hash]?.from = min(cut.from, offset)
            places[offset] = isKnown ? Place(hash: hash, standing: .behind) : nil
            return false
        }
        if let parked, !parked.isKey {
            places[offset] = Place(hash: hash, standing: .aside)
            return false
        }
        places[offset] = Place(hash: hash)
        append(offset, hash)
        if parked != nil {
            cuts[hash] = Cut(by: offset, from: .max)
            return false
        }
        return lines[hash]?.first == offset
    }

    private mutating func append(_ offset: Int64, _ hash: UInt64) {
        guard var line = lines[hash] else {
            lines[hash] = Line(first: offset, last: offset)
            return
        }
        places[line.last]?.next = offset
        line.last = offset
        lines[hash] = line
    }

    // MARK: - Coming and going. Each returns what may go out now because of it.

    /// It is not out any more, and nobody is to wait for it.
    mutating func back(_ offset: Int64) -> Int64? {
        // Nothing is known of what was not read yet, and reading finds it.
        guard offset < end else { return nil }
        guard let place = places[offset] else { return offset }
        guard place.standing == .inLine, let line = lines[place.hash] else { return nil }
        if line.first == offset { return line.busy == Self.none ? offset : nil }
        return leave(offset)
    }

    /// It is not out any more, and not to go out yet.
    mutating func leave(_ offset: Int64) -> Int64? {
        guard let place = places[offset], lines[place.hash]?.busy == offset else { return nil }
        lines[place.hash]?.busy = Self.none
        return first(place.hash)
    }

    /// It is settled.
    mutating func remove(_ offset: Int64) -> Int64? {
        guard let place = places.removeValue(forKey: offset), place.standing == .inLine else {
            return nil
        }
        if cuts[place.hash]?.by == offset { mend(place.hash) }
        return unlink(offset, place)
    }

    /// It is parked. `isKnown`: what has to be remembered of those behind its key.
    mutating func park(_ offset: Int64, isKey: Bool, isKnown: (Int64) -> Bool) -> Int64? {
        guard let place = places[offset], place.standing == .inLine else { return nil }
        guard isKey else {
            let next = unlink(offset, place)
            places[offset] = Place(hash: place.hash, standing: .aside)
            return next
        }
        var from = cuts[place.hash]?.from ?? .max
        var behind = place.next
        if behind != Self.none { from = min(from, behind) }
        while behind != Self.none, let next = places[behind] {
            places[behind] = isKnown(behind) ? Place(hash: place.hash, standing: .behind) : nil
            behind = next.next
        }
        places[offset]?.next = Self.none
        lines[place.hash]?.last = offset
        cuts[place.hash] = Cut(by: offset, from: from)
        return leave(offset)
    }

    /// It is parked no more. `isOut`: whether somebody has a record. Beside what may go out now, what
    /// may not any more, because the released one comes first.
    mutating func release(
        _ offset: Int64, isOut: (Int64) -> Bool
    ) -> (ready: Int64?, unready: Int64?) {
        guard offset < end else { return (nil, nil) }
        guard let place = places[offset] else { return (offset, nil) }
        switch place.standing {
        case .behind: return (nil, nil)
        case .inLine:
            if cuts[place.hash]?.by == offset { mend(place.hash) }
            return (lines[place.hash]?.first == offset ? first(place.hash) : nil, nil)
        case .aside: return insert(offset, place.hash, isOut)
        }
    }

    /// Back into its line, in the order of offsets.
    private mutating func insert(
        _ offset: Int64, _ hash: UInt64, _ isOut: (Int64) -> Bool
    ) -> (ready: Int64?, unready: Int64?) {
        if let cut = cuts[hash], cut.by < offset {
            places[offset] = Place(hash: hash, standing: .behind)
            cuts[hash]?.from = min(cut.from, offset)
            return (nil, nil)
        }
        places[offset] = Place(hash: hash)
        guard var line = lines[hash] else {
            append(offset, hash)
            return (offset, nil)
        }
        guard offset < line.first else {
            let before = last(of: line, below: offset)
            let behind = places[before]?.next ?? Self.none
            places[offset]?.next = behind
            places[before]?.next = offset
            if line.last == before { lines[hash]?.last = offset }
            return (nil, nil)
        }
        let former = line.first
        places[offset]?.next = former
        line.first = offset
        if line.busy == Self.none, isOut(former) { line.busy = former }
        lines[hash] = line
        return (first(hash), former)
    }

    private func last(of line: Line, below offset: Int64) -> Int64 {
        var before = line.first
        while let next = places[before]?.next, next != Self.none, next < offset { before = next }
        return before
    }

    /// Takes it out of its line.
    private mutating func unlink(_ offset: Int64, _ place: Place) -> Int64? {
        guard var line = lines[place.hash] else { return nil }
        let wasBusy = line.busy == offset
        if wasBusy { line.busy = Self.none }
        guard line.first == offset else {
            let before = last(of: line, below: offset)
            places[before]?.next = place.next
            if line.last == offset { line.last = before }
            lines[place.hash] = line
            return wasBusy ? first(place.hash) : nil
        }
        guard place.next != Self.none else {
            lines[place.hash] = nil
            return nil
        }
        line.first = place.next
        // The first may be out.
        let isOut = line.busy == line.first
        if isOut { line.busy = Self.none }
        lines[place.hash] = line
        return isOut ? nil : first(place.hash)
    }

    /// The first of a line, if it may go out.
    private func first(_ hash: UInt64) -> Int64? {
        guard let line = lines[hash], line.busy == Self.none, cuts[hash]?.by != line.first else {
            return nil
        }
        return line.first
    }

    /// The key goes on: what was left out is read again.
    private mutating func mend(_ hash: UInt64) {
        guard let cut = cuts.removeValue(forKey: hash) else { return }
        position = min(position, cut.from)
    }

    // MARK: - Looks

    /// Whether it may be with somebody: no other of its key is.
    func mayBeOut(_ offset: Int64) -> Bool {
        guard let place = places[offset] else { return true }
        guard place.standing == .inLine, let line = lines[place.hash] else { return false }
        if line.busy != Self.none { return line.busy == offset }
        return line.first == offset
    }

    /// Records of `range` that it knows, in order; in as many steps as the smaller of both has.
    func known(in range: Range<Int64>) -> [Int64] {
        if range.count < places.count { return range.filter { places[$0] != nil } }
        return places.keys.filter(range.contains).sorted()
    }
}

/// Keys of records as the broker has read them from the log.
package struct KeyChunk: Sendable {
    /// A record with a key.
    package struct Keyed: Sendable {
        package let offset: Int64
        package let hash: UInt64

        package init(_ offset: Int64, _ hash: UInt64) {
            self.offset = offset
            self.hash = hash
        }
    }

    /// What was read.
    package var range: Range<Int64>
    /// In order. All others have no key, or are not there.
    package var keys: [Keyed] = []
    /// What could not be read, in order: nobody knows its keys, and it is handed to nobody.
    package var unreadable: [Range<Int64>] = []

    package init(range: Range<Int64>) {
        self.range = range
    }
}
