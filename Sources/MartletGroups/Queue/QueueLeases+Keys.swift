/// Of a queue in order by key: what is known of keys, and what is ready by it. And what is parked, of
/// any queue.
extension QueueLeases {
    /// Takes what the broker has read. False: nothing was asked for.
    mutating func take(_ chunk: KeyChunk, _ progress: QueueProgress) -> Bool {
        guard window?.isReading == true else { return false }
        window?.isReading = false
        // What lies before was left out, or retention took it: it is asked for anew.
        guard window?.position == chunk.range.lowerBound else { return true }
        var ready = withWindow { $0.take(chunk, progress, $1) } ?? RangeSet()
        for range in delaying.pieces(in: chunk.range) { ready.remove(contentsOf: range) }
        for offset in progress.parked.keys where ready.contains(offset) { ready.remove(offset) }
        for range in ready.ranges { returned.insert(contentsOf: range) }
        cursor = max(cursor, chunk.range.upperBound)
        return true
    }

    /// The window by itself, beside all else.
    private mutating func withWindow<Result>(
        _ body: (inout KeyWindow, QueueLeases) -> Result
    ) -> Result? {
        guard var window else { return nil }
        self.window = nil
        defer { self.window = window }
        return body(&window, self)
    }

    /// Nobody is left who could have any of it: keys are read again for who comes.
    mutating func forgetKeys(_ progress: QueueProgress) {
        guard window != nil else { return }
        returned = RangeSet()
        cursor = progress.floor
        window = KeyWindow(from: cursor)
    }

    /// What is to be read next.
    mutating func nextUnread(_ progress: QueueProgress) -> Int64? {
        guard let position = window?.position else { return nil }
        window?.read(to: progress.settledRange(at: position)?.upperBound ?? position)
        return window?.position
    }

    /// So few are ready that more are worth reading.
    var isLow: Bool {
        returned.ranges.count < 1_024
            && returned.ranges.prefix(64).reduce(0) { $0 + $1.count } < 4_096
    }

    /// Whether all of `range` may be with a member: in order, no other record of its key is.
    func mayBeOut(_ range: Range<Int64>) -> Bool {
        guard let window else { return true }
        return window.known(in: range).allSatisfy { window.mayBeOut($0) }
    }

    // MARK: - Parking

    /// Set aside, with its key or without. True when others are ready by it.
    mutating func park(_ offset: Int64, isKey: Bool, _ progress: QueueProgress) -> Bool {
        take(offset..<(offset + 1))
        let next = withWindow { window, leases in
            window.park(offset, isKey: isKey) { leases.isKnown($0, progress) }
        }
        guard let next, let next else { return false }
        return letOut(next)
    }

    /// It is ready again, in its turn.
    mutating func release(_ offset: Int64) {
        let change = withWindow { window, leases in
            window.release(offset) { leases.isOut($0) }
        }
        guard let change else {
            letOut(offset)
            return
        }
        if let unready = change.unready { returned.remove(unready) }
        if let ready = change.ready { letOut(ready) }
    }
}

extension QueueLeases {
    /// Something is known of it beside its key.
    fileprivate func isKnown(_ offset: Int64, _ progress: QueueProgress) -> Bool {
        progress.parked[offset] != nil || delaying.contains(offset)
            || !holders(of: offset..<(offset + 1)).isEmpty
    }
}

extension KeyWindow {
    /// What is ready by what was read, and may be delayed or parked.
    fileprivate mutating func take(
        _ chunk: KeyChunk, _ progress: QueueProgress, _ leases: QueueLeases
    ) -> RangeSet<Int64> {
        var ready = RangeSet<Int64>()
        var keys = chunk.keys[...]
        for open in progress.open(in: chunk.range) {
            var at = open.lowerBound
            while let key = keys.first, key.offset < open.upperBound {
                keys.removeFirst()
                guard key.offset >= at else { continue }
                // What was read before and has no key is known.
                ready.insert(contentsOf: max(at, min(end, key.offset))..<key.offset)
                let isFirst = add(
                    key.offset, key.hash, parked: progress.parked[key.offset],
                    isKnown: leases.isKnown(key.offset, progress))
                at = key.offset + 1
                if isFirst { ready.insert(contentsOf: key.offset..<at) }
            }
            ready.insert(contentsOf: max(at, min(end, open.upperBound))..<open.upperBound)
        }
        for range in chunk.unreadable { ready.remove(contentsOf: range) }
        read(to: chunk.range.upperBound)
        return ready
    }
}

extension RangeSet<Int64> {
    mutating func remove(_ offset: Int64) {
        if offset < .max { remove(contentsOf: offset..<(offset + 1)) }
    }
}
