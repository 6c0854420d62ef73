import MartletFormat

/// Reads ids out of parts of a log, oldest first. When a record was appended is known as well as the
/// index knows it: where that is not exact, the latest time counts, so that none is forgotten early.
struct MessageIDReader {
    struct Part {
        let segment: Segment
        let entries: [IndexEntry]
        let end: IndexEntry
        /// Its times are not to be believed: all of it may be new.
        let isDoubtful: Bool
    }

    /// Wall clock, ms, and monotonic clock, ns, of the same moment.
    let now: Int64
    let monotonic: Int64
    /// Of the window, ms.
    let length: Int64
    let memory: MessageIDMemory
    /// The newest time that was given.
    private var latest = Int64.min

    init(now: Int64, monotonic: Int64, length: Int64, memory: MessageIDMemory) {
        (self.now, self.monotonic, self.length, self.memory) = (now, monotonic, length, memory)
    }

    /// What was appended before has left the window.
    var horizon: Int64 {
        let (time, overflow) = now.subtractingReportingOverflow(length)
        return overflow ? .min : time
    }

    /// False: there is no room for the ids; what was taken is given back.
    mutating func read(
        _ part: Part, into window: inout MessageIDWindow
    ) throws(StorageError) -> Bool {
        let log = try part.segment.log.open()
        var places = Places(part)
        let start = part.isDoubtful ? 0 : places.position(notBefore: horizon)
        var next = Int64.min
        var scanner = BatchScanner(
            log, from: start, to: part.end.position, checksBody: true)
        while true {
            switch try scanner.next() {
            case .batch(let header, let position):
                guard header.baseOffset >= next else { continue }
                next = header.nextOffset
                let time = part.isDoubtful ? now : places.appendTime(at: position)
                guard take(header, scanner.bytes, time, &window) else { return false }
            case .bad(let position, _), .zeros(let position):
                // The ids in damaged bytes are lost, those behind them are not.
                guard
                    let found = try BatchSearch.next(
                        in: log, from: position + 1, to: part.end.position,
                        offset: max(next, part.segment.base), offsetLimit: part.end.offset)
                else { return true }
                scanner = BatchScanner(
                    log, from: found.position, to: part.end.position, checksBody: true)
            case .end: return true
            }
        }
    }

    private mutating func take(
        _ header: RecordBatchHeader, _ bytes: RawSpan, _ time: Int64,
        _ window: inout MessageIDWindow
    ) -> Bool {
        let age = max(0, now - max(time, horizon))
        latest = max(latest, monotonic - age * 1_000_000)
        let before = window.bytes
        window.take(bytes, header, time: latest)
        memory.add(window.bytes - before)
        guard memory.bytes > memory.limit else { return true }
        memory.give(window.bytes)
        return false
    }

    /// When the batches at rising positions were appended, at the latest.
    private struct Places {
        private let entries: [IndexEntry]
        private let end: IndexEntry
        private var index = 0

        init(_ part: Part) {
            entries = part.entries
            end = part.end
        }

        /// The position from which on batches may be as young as `horizon`.
        func position(notBefore horizon: Int64) -> Int64 {
            // An entry knows the time of what is below it.
            entries.lastIndex { $0.appendTime < horizon }.map { entries[$0].position } ?? 0
        }

        mutating func appendTime(at position: Int64) -> Int64 {
            while index < entries.count, entries[index].position <= position { index += 1 }
            guard index < entries.count else { return end.appendTime }
            return min(entries[index].appendTime, end.appendTime)
        }
    }
}
