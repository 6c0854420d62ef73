import MartletFormat
import MartletWire
import Synchronization

/// What a member of a queue holds, and what it has to say of it.
final class QueueLedger: Sendable {
    enum Verb: Hashable, Sendable {
        case done
        case again(milliseconds: Int64)
        case extend
        case begin
        case failed(FailureWords)
    }

    /// Offsets of one delivery of which one thing is said.
    struct Saying: Sendable {
        let delivered: DeliveredRange
        let verb: Verb
        let range: Range<Int64>
    }

    fileprivate struct Held {
        let delivered: DeliveredRange
        /// Not settled yet.
        var open: RangeSet<Int64>
        /// When handlers began, by offset.
        var running: [Int64: Int64] = [:]
        /// Until when nobody else has them, on the monotonic clock.
        var deadline: Int64
    }

    fileprivate struct Word: Hashable {
        let delivery: UInt64
        let verb: Verb
        /// Said of each record by itself.
        var isOfEach = false
    }

    fileprivate struct State {
        var held: [UInt64: Held] = [:]
        /// Records that are held.
        var count = 0
        /// To be said, by what and of which delivery.
        var words: [Word: RangeSet<Int64>] = [:]
        /// Some of it of each record by itself.
        var isSayingOfEach = false
        var ongoing = OngoingWork()
        /// Of which starts of the broker deliveries came, the latest last.
        var starts: [UInt64] = []
        /// Deliveries that are only spoken of.
        var spoken: [UInt64: DeliveredRange] = [:]
        var speaker: Promise<Void>?
        var taker: Promise<Void>?
        /// No handler begins any more.
        var isDraining = false
        var isClosed = false
    }

    private let state = Mutex(State())

    // MARK: - Taking

    /// Waits until less than half of `window` is held; returns what there is room for, nil when
    /// nothing is taken any more. For one task.
    func room(of window: Int) async -> Int? {
        while true {
            let promise = Promise<Void>()
            let (room, isClosed) = state.withLock { state -> (Int?, Bool) in
                if state.isDraining || state.isClosed { return (nil, true) }
                if state.count <= window / 2 { return (window - state.count, false) }
                state.taker = promise
                return (nil, false)
            }
            if room != nil || isClosed { return room }
            await promise.settled()
        }
    }

    /// What handlers of this member run with, or have ended with, goes on under this delivery.
    func take(_ delivered: DeliveredRange, until deadline: Int64) {
        guard let range = delivered.range.range else { return }
        let speaker = state.withLock { state in
            state.note(delivered.delivery.brokerStart)
            state.forget(range, before: delivered)
            state.held[delivered.delivery] = Held(
                delivered: delivered, open: RangeSet(range), deadline: deadline)
            state.count += range.count
            return state.takeOver(range, of: delivered)
        }
        speaker?.succeed(())
    }

    /// Whether a handler may begin with it: it is held, and none runs with it.
    func waits(_ offset: Int64, of delivery: UInt64) -> Bool {
        state.withLock { state in
            guard let held = state.held[delivery] else { return false }
            return held.open.contains(offset) && held.running[offset] == nil
        }
    }

    /// False: the record is not this member's any more. `isSaid`: the broker knows already.
    func begin(
        _ offset: Int64, of delivery: UInt64, at now: Int64, isSaid: Bool = false
    ) -> Bool {
        let (isHeld, speaker) = state.withLock { state -> (Bool, Promise<Void>?) in
            guard let held = state.held[delivery], held.open.contains(offset),
                held.running[offset] == nil, now < held.deadline
            else { return (false, nil) }
            state.held[delivery]?.running[offset] = now
            state.ongoing.begin(offset, held.delivered, at: now)
            if isSaid { return (true, nil) }
            return (true, state.say(.begin, offset..<(offset + 1), held.delivered))
        }
        speaker?.succeed(())
        return isHeld
    }

    func end(_ range: Range<Int64>, of delivery: UInt64, _ verb: Verb) {
        let (speaker, taker) = state.withLock { state -> (Promise<Void>?, Promise<Void>?) in
            guard let held = state.held[delivery] else { return (nil, nil) }
            var speaker: Promise<Void>?
            for open in held.open.intersection(RangeSet(range)).ranges {
                speaker = state.say(verb, open, held.delivered) ?? speaker
            }
            return (speaker, state.drop(range, of: delivery))
        }
        speaker?.succeed(())
        taker?.succeed(())
    }

    /// A handler has ended. It is said under the newest delivery of its record.
    func handled(_ offset: Int64, of delivered: DeliveredRange, _ verb: Verb, at now: Int64) {
        let record = offset..<(offset + 1)
        let (speaker, taker) = state.withLock { state -> (Promise<Void>?, Promise<Void>?) in
            guard let delivery = state.ongoing.delivery(offset, begunUnder: delivered) else {
                return (nil, nil)
            }
            guard let held = state.held[delivery], held.open.contains(offset) else {
                state.ongoing.end(offset, of: delivered, .refused(verb, at: now))
                return (nil, nil)
            }
            state.ongoing.end(offset, of: delivered, .ended(verb))
            let speaker = state.say(verb, record, held.delivered)
            return (speaker, state.drop(record, of: delivery))
        }
        speaker?.succeed(())
        taker?.succeed(())
    }

    /// The broker has taken what was said.
    func answered(_ saying: Saying) {
        state.withLock { state in
            for (offset, handling) in state.ongoing.ended(saying) {
                guard handling.delivery == saying.delivered.delivery else { continue }
                state.ongoing.remove(offset, of: saying.delivered)
            }
        }
    }

    /// The broker says that the delivery does not count. False: a newer one of this member speaks for
    /// the record.
    func refused(_ saying: Saying, at now: Int64) -> Bool {
        state.withLock { state in
            var isSuperseded = false
            for (offset, handling) in state.ongoing.handlings(
                in: saying.range, of: saying.delivered)
            {
                if handling.delivery != saying.delivered.delivery { isSuperseded = true }
                guard saying.verb.isEnd, handling.delivery == saying.delivered.delivery,
                    case .ended(let verb) = handling.phase
                else { continue }
                state.ongoing.end(offset, of: saying.delivered, .refused(verb, at: now))
            }
            return !isSuperseded
        }
    }

    /// What was refused before is handled anew when it is handed to this member again.
    func forget(refusedBefore time: Int64) {
        state.withLock { $0.ongoing.forget(refusedBefore: time) }
    }

    /// They are others'. False: they were not held any more.
    @discardableResult
    func lose(_ range: Range<Int64>, of delivery: UInt64) -> Bool {
        let (wasHeld, taker) = state.withLock { state in
            let open = state.held[delivery]?.open ?? RangeSet()
            return (!open.isDisjoint(RangeSet(range)), state.drop(range, of: delivery))
        }
        taker?.succeed(())
        return wasHeld
    }

    /// Says something else of what was refused, as far as no newer delivery speaks for it.
    func sayAgain(_ saying: Saying, _ verb: Verb) {
        let speaker = state.withLock { state -> Promise<Void>? in
            var speaker: Promise<Void>?
            for (offset, handling) in state.ongoing.ended(saying)
            where handling.delivery == saying.delivered.delivery {
                state.ongoing.end(offset, of: saying.delivered, .ended(verb))
                let record = offset..<(offset + 1)
                speaker = state.say(verb, record, saying.delivered) ?? speaker
            }
            return speaker
        }
        speaker?.succeed(())
    }

    /// Says of each record what was refused of several: not all need be others'.
    func sayOfEach(_ saying: Saying) {
        let speaker = state.withLock { state -> Promise<Void>? in
            var speaker: Promise<Void>?
            for range in state.left(of: saying).ranges {
                let (verb, delivered) = (saying.verb, saying.delivered)
                speaker = state.say(verb, range, delivered, ofEach: true) ?? speaker
            }
            return speaker
        }
        speaker?.succeed(())
    }

    // MARK: - Time

    /// Leases begin anew, but for records whose handlers take longer than `limit` nanoseconds.
    func extend(at now: Int64, limit: Int64) {
        let speaker = state.withLock { state -> Promise<Void>? in
            var speaker: Promise<Void>?
            for held in state.held.values {
                var kept = held.open
                if state.isDraining {
                    // What nobody begins with any more is not kept from others.
                    kept = RangeSet(held.running.keys.map { $0..<($0 + 1) }).intersection(kept)
                }
                for (offset, since) in held.running where now - since > limit {
                    kept.remove(contentsOf: offset..<(offset + 1))
                }
                for range in kept.ranges {
                    speaker = state.say(.extend, range, held.delivered) ?? speaker
                }
            }
            return speaker
        }
        speaker?.succeed(())
    }

    func extended(_ delivery: UInt64, until deadline: Int64) {
        state.withLock { $0.held[delivery]?.deadline = deadline }
    }

    // MARK: - Saying

    /// What is to be said now, at most `max`; waits for something. nil: nothing more comes. For one
    /// task.
    func next(max: Int) async -> [Saying]? {
        while true {
            let promise = Promise<Void>()
            let (sayings, isOver) = state.withLock { state -> ([Saying], Bool) in
                let sayings = state.takeWords(max: max)
                if sayings.isEmpty, !state.isClosed { state.speaker = promise }
                return (sayings, sayings.isEmpty && state.isClosed)
            }
            if isOver { return nil }
            if !sayings.isEmpty { return sayings }
            await promise.settled()
        }
    }

    /// No handler begins any more; those that have may end.
    func drain() {
        let taker = state.withLock { state in
            state.isDraining = true
            defer { state.taker = nil }
            return state.taker
        }
        taker?.succeed(())
    }

    /// Nothing more is taken; what is to be said is said.
    func close() {
        let waiters = state.withLock { state in
            state.isClosed = true
            defer { (state.speaker, state.taker) = (nil, nil) }
            return [state.speaker, state.taker].compactMap { $0 }
        }
        for waiter in waiters { waiter.succeed(()) }
    }
}

extension QueueLedger.State {
    fileprivate mutating func say(
        _ verb: QueueLedger.Verb, _ range: Range<Int64>, _ delivered: DeliveredRange,
        ofEach isOfEach: Bool = false
    ) -> Promise<Void>? {
        let delivery = delivered.delivery
        spoken[delivery] = delivered
        // Who is done, or gives back, has begun.
        if verb.isEnd { takeBack(.begin, range, of: delivery) }
        // A record has one end, and one lease.
        if verb != .begin { takeBack(.extend, range, of: delivery) }
        let word = QueueLedger.Word(delivery: delivery, verb: verb, isOfEach: isOfEach)
        words[word, default: RangeSet()].insert(contentsOf: range)
        if isOfEach { isSayingOfEach = true }
        defer { speaker = nil }
        return speaker
    }

    /// A record that was handed out again has one handler all the same: the one that runs with it, or
    /// has ended with an outcome that nobody took yet.
    fileprivate mutating func takeOver(
        _ range: Range<Int64>, of delivered: DeliveredRange
    ) -> Promise<Void>? {
        if ongoing.isEmpty { return nil }
        var speaker: Promise<Void>?
        for (offset, handling) in ongoing.handlings(in: range, of: delivered) {
            let record = offset..<(offset + 1)
            guard handling.holds(under: delivered) else {
                ongoing.remove(offset, of: delivered)
                continue
            }
            ongoing.move(offset, to: delivered)
            switch handling.phase {
            case .running(let since):
                held[delivered.delivery]?.running[offset] = since
                speaker = say(.begin, record, delivered) ?? speaker
            case .ended(let verb), .refused(let verb, _):
                ongoing.end(offset, of: delivered, .ended(verb))
                speaker = say(verb, record, delivered) ?? speaker
                // Nobody waits for room here, as in `forget`.
                _ = drop(record, of: delivered.delivery)
            }
        }
        return speaker
    }

    private mutating func takeBack(
        _ verb: QueueLedger.Verb, _ range: Range<Int64>, of delivery: UInt64
    ) {
        var word = QueueLedger.Word(delivery: delivery, verb: verb)
        words[word]?.remove(contentsOf: range)
        guard isSayingOfEach else { return }
        word.isOfEach = true
        words[word]?.remove(contentsOf: range)
    }

    /// What of it this delivery may say still: of what is handled meanwhile more was said, and of what
    /// was delivered again a later one speaks.
    fileprivate func left(of saying: QueueLedger.Saying) -> RangeSet<Int64> {
        let said = saying.delivered
        var left = RangeSet(saying.range)
        switch saying.verb {
        case .begin, .extend: return left.intersection(held[said.delivery]?.open ?? RangeSet())
        case .done, .again, .failed: break
        }
        for delivered in Array(spoken.values) + held.values.map(\.delivered)
        where isLater(delivered.delivery, than: said.delivery) && delivered.isBeside(said) {
            if let range = delivered.range.range { left.remove(contentsOf: range) }
        }
        return left
    }

    fileprivate mutating func note(_ start: UInt64) {
        guard starts.last != start else { return }
        // What is older than that is spoken of no more.
        if starts.count == 16 { starts.removeFirst() }
        starts.append(start)
    }

    private func isLater(_ number: UInt64, than other: UInt64) -> Bool {
        let (start, before) = (number.brokerStart, other.brokerStart)
        if start == before { return number > other }
        return starts.lastIndex(of: start) ?? -1 > starts.lastIndex(of: before) ?? -1
    }

    /// Only the newest delivery of a record counts, and a request may say one thing of it: what an
    /// earlier one has of it is forgotten.
    fileprivate mutating func forget(_ range: Range<Int64>, before newer: DeliveredRange) {
        for (number, older) in spoken.merging(held.mapValues(\.delivered), uniquingKeysWith: { $1 })
        where older.isBeside(newer) {
            guard let old = older.range.range?.clamped(to: range), !old.isEmpty else { continue }
            // Nobody waits for room here: who takes is the one who would.
            _ = drop(old, of: number)
            for word in words.keys where word.delivery == number {
                words[word]?.remove(contentsOf: old)
            }
        }
    }

    /// Returns who waits for room, if there is some now.
    fileprivate mutating func drop(_ range: Range<Int64>, of delivery: UInt64) -> Promise<Void>? {
        guard var held = self.held[delivery] else { return nil }
        let before = held.open.ranges.reduce(0) { $0 + $1.count }
        held.open.remove(contentsOf: range)
        for offset in range where held.running[offset] != nil { held.running[offset] = nil }
        count -= before - held.open.ranges.reduce(0) { $0 + $1.count }
        self.held[delivery] = held.open.isEmpty ? nil : held
        defer { taker = nil }
        return taker
    }

    fileprivate mutating func takeWords(max: Int) -> [QueueLedger.Saying] {
        var sayings: [QueueLedger.Saying] = []
        // The broker takes a million offsets in one request, and no frame that is too long.
        var offsets = 0
        for (word, ranges) in words {
            guard let delivered = spoken[word.delivery] else { continue }
            for range in word.parts(ranges) where sayings.count < max && offsets < 500_000 {
                offsets += Swift.max(range.count, word.verb.weight)
                sayings.append(
                    QueueLedger.Saying(delivered: delivered, verb: word.verb, range: range))
                words[word]?.remove(contentsOf: range)
            }
            if words[word]?.isEmpty == true { words[word] = nil }
            if sayings.count == max { break }
        }
        if words.isEmpty { (spoken, isSayingOfEach) = ([:], false) }
        return sayings
    }
}

extension QueueLedger.Verb {
    /// Nothing is said of the record after it.
    var isEnd: Bool {
        switch self {
        case .done, .again, .failed: true
        case .begin, .extend: false
        }
    }

    /// A request has room for 100 failures with all their words.
    fileprivate var weight: Int {
        switch self {
        case .done, .again, .extend, .begin: 0
        case .failed: 5_000
        }
    }
}

extension QueueLedger.Word {
    /// The offsets as they are said in single entries: the broker takes failures one by one.
    fileprivate func parts(_ ranges: RangeSet<Int64>) -> [Range<Int64>] {
        switch verb {
        case .done, .again, .extend, .begin: isOfEach ? ranges.singles : Array(ranges.ranges)
        case .failed: ranges.singles
        }
    }
}

extension RangeSet<Int64> {
    fileprivate var singles: [Range<Int64>] { ranges.flatMap { $0.map { $0..<($0 + 1) } } }
}

extension DeliveredRange {
    /// Whether both are of one queue's partition and lane.
    fileprivate func isBeside(_ other: DeliveredRange) -> Bool {
        topic == other.topic && partition == other.partition && lane == other.lane
    }
}
