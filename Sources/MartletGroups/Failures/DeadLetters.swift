/// The dead letters of a group: what survives a restart. Changed by `replay` alone.
///
/// They go back to the group on the replay lane of the dead letter topic: a queue in which only those
/// are open that somebody sent again. So a replay has leases, attempts and pauses as any record has,
/// and never touches the offsets of the group.
struct DeadLetters: Equatable, Sendable {
    /// Those that are neither handled nor resolved, by number.
    private(set) var letters: [UInt64: Letter] = [:]
    /// What the topic does not have yet, by number.
    private(set) var waiting: [UInt64: LetterEntry] = [:]
    private(set) var waitingBytes = 0
    /// The partition of the dead letter topic, once something is in it.
    private(set) var topic: TopicPartition?
    /// The highest number that any entry had.
    private(set) var lastNumber: UInt64 = 0
    /// Where the newest entry lies that is known to be in the topic.
    private(set) var lastPlace: Int64 = -1
    /// Where it is handed out again.
    var lane: QueueID? { topic.map { .replay($0) } }
    /// Where they are. One, or none in a group without letters: most have none.
    private var index: [LetterIndex] = []
    /// Letters on the lane, by their places.
    var onLane: [Int64: UInt64] { index.first?.onLane ?? [:] }
    /// Where records are dead.
    var places: DeadPlaces { index.first?.dead ?? DeadPlaces() }

    /// Takes an entry. Returns the place on the lane that it leaves, if it was there.
    mutating func take(_ entry: LetterEntry) -> Int64? {
        wait(for: entry)
        if entry.kind.isRemark {
            letters[entry.letter]?.take(remark: entry)
            return nil
        }
        let lanePlace = letters[entry.letter].flatMap { $0.isReplaying ? $0.place : nil }
        if let lanePlace { changeIndex { $0.onLane[lanePlace] = nil } }
        switch entry.kind {
        case .died:
            var letter = Letter(
                number: entry.letter, origin: entry.origin, reason: entry.reason,
                attempts: entry.attempts, deaths: entry.deaths, diedAt: entry.at)
            if let former = letters[entry.letter] { letter.keepStory(of: former) }
            letter.newest = entry.number
            letter.rescuedBytes =
                entry.reason == .retention
                ? UInt32(clamping: entry.body.count) : letters[entry.letter]?.rescuedBytes ?? 0
            if let lanePlace { letter.die(onLaneAt: lanePlace) }
            put(letter)
        case .edited:
            letters[entry.letter]?.newest = entry.number
            letters[entry.letter]?.place = nil
        case .resolved: remove(entry.letter)
        case .assigned, .commented: break
        }
        return lanePlace
    }

    /// The same of a snapshot, which has its letter as well.
    mutating func wait(for entry: LetterEntry) {
        lastNumber = max(lastNumber, entry.number)
        waitingBytes += entry.bytes - (waiting[entry.number]?.bytes ?? 0)
        waiting[entry.number] = entry
    }

    mutating func restore(_ letter: Letter) {
        lastNumber = max(lastNumber, letter.number)
        put(letter)
        guard letter.isReplaying, let place = letter.place else { return }
        changeIndex { $0.onLane[place] = letter.number }
    }

    /// The topic has the entry.
    mutating func store(_ number: UInt64, in topic: TopicPartition, at place: Int64) {
        if self.topic != topic { move(to: topic) }
        lastNumber = max(lastNumber, number)
        lastPlace = max(lastPlace, place)
        guard let entry = waiting.removeValue(forKey: number) else { return }
        waitingBytes -= entry.bytes
        guard var letter = letters[entry.letter] else { return }
        letter.lastPlace = max(letter.lastPlace ?? 0, place)
        if letter.newest == number { letter.place = place }
        letters[entry.letter] = letter
    }

    /// Sends it to the group again. Returns its place on the lane.
    mutating func replay(_ number: UInt64) -> Int64? {
        guard let letter = letters[number], !letter.isReplaying, let place = letter.place else {
            return nil
        }
        letters[number]?.isReplaying = true
        letters[number]?.replays = letter.replays == .max ? .max : letter.replays + 1
        changeIndex { $0.onLane[place] = number }
        return place
    }

    /// Changes that make the same from nothing: what a snapshot holds.
    var changes: [LetterChange] {
        var changes: [LetterChange] = []
        if let topic { changes.append(.stored(lastNumber, in: topic, at: lastPlace)) }
        changes += letters.values.sorted { $0.number < $1.number }.map { .restored($0) }
        changes += waiting.values.sorted { $0.number < $1.number }.map { .waiting($0) }
        return changes
    }

    /// What lay there on the lane is handled or gone. Returns the letter.
    mutating func end(at place: Int64) -> Letter? {
        guard let number = onLane[place] else { return nil }
        changeIndex { $0.onLane[place] = nil }
        return remove(number)
    }

    /// The records themselves are with the group again: what is said of them is said of no letter.
    mutating func reopen(_ ranges: [Range<Int64>], of queue: QueueID) {
        guard queue != lane else { return }
        for (place, number) in places.letters(in: ranges, of: queue) {
            changeIndex { $0.dead.remove(place, of: number) }
            letters[number]?.isOriginOwed = true
        }
    }

    /// Places of one topic say nothing of another.
    private mutating func move(to topic: TopicPartition) {
        let moved = letters.values.filter { !$0.diedOnLane.isEmpty }
        for letter in moved { remove(letter.number) }
        self.topic = topic
        for var letter in moved {
            letter.diedOnLane = []
            put(letter)
        }
    }

    private mutating func put(_ letter: Letter) {
        remove(letter.number)
        letters[letter.number] = letter
        let dead = letter.deadPlaces(lane)
        changeIndex { index in
            for place in dead { index.dead.insert(place, of: letter.number) }
        }
    }

    @discardableResult
    private mutating func remove(_ number: UInt64) -> Letter? {
        guard let letter = letters.removeValue(forKey: number) else { return nil }
        let dead = letter.deadPlaces(lane)
        changeIndex { index in
            for place in dead { index.dead.remove(place, of: number) }
        }
        return letter
    }

    private mutating func changeIndex(_ change: (inout LetterIndex) -> Void) {
        if index.isEmpty { index.append(LetterIndex()) }
        change(&index[0])
        if index[0].isEmpty { index = [] }
    }
}

extension GroupState {
    /// Applies what happens to dead letters, and keeps the accounts of where they came from.
    mutating func apply(_ change: LetterChange) {
        switch change {
        case .entry(let entry): apply(entry)
        case .stored(let number, let topic, let place):
            letters.store(number, in: topic, at: place)
        case .replayed(let numbers):
            for number in numbers {
                guard let place = letters.replay(number), let lane = letters.lane else { continue }
                queues[lane, default: .replay].reopen(place)
                letters.letters[number].map { count($0.origin, replaying: 1) }
            }
        case .restored(let letter):
            letters.restore(letter)
            count(letter.origin, dead: 1, replaying: letter.isReplaying ? 1 : 0)
            guard letter.isReplaying else { return }
            if let place = letter.place, let lane = letters.lane {
                queues[lane, default: .replay].reopen(place)
            }
        case .waiting(let entry): letters.wait(for: entry)
        }
    }

    private mutating func apply(_ entry: LetterEntry) {
        let (key, offset) = (entry.origin.queue, entry.origin.offset)
        let former = letters.letters[entry.letter]
        if let place = letters.take(entry) {
            if let lane = letters.lane { queues[lane]?.close(place) }
            count(entry.origin, replaying: -1)
        }
        switch entry.kind {
        case .died:
            if former == nil, queues[key]?.close(offset) == true { queues[key]?.dead &+= 1 }
        case .edited, .assigned, .commented: break
        case .resolved:
            guard former != nil else { return }
            count(entry.origin, dead: -1, acked: 1)
        }
    }

    /// To be called before the lane has the change.
    mutating func endOnLane(_ change: QueueChange) {
        switch change {
        case .acked(let ranges): end(ranges, asAcked: true)
        case .expired(let below): end([0..<max(0, below)], asAcked: false)
        case .began, .delayed, .attempted, .failed, .parked, .released, .vacant, .restored,
            .reopened, .takenBack:
            break
        }
    }

    /// What was handled on the lane was dead, and is handled now; what is gone there is gone.
    private mutating func end(_ ranges: [Range<Int64>], asAcked isAcked: Bool) {
        guard let lane = letters.lane, let progress = queues[lane] else { return }
        let places = ranges.flatMap { progress.open(in: $0) }
        for place in places.lazy.joined() {
            guard let letter = letters.end(at: place) else { continue }
            count(
                letter.origin, dead: -1, replaying: -1, acked: isAcked ? 1 : 0,
                expired: isAcked ? 0 : 1)
        }
    }
}

/// Something that happened to the dead letters of a group, and holds.
package enum LetterChange: Equatable, Sendable {
    /// What it says is done from now on, and is to be written to the topic.
    case entry(LetterEntry)
    /// The topic has the entry of this number.
    case stored(UInt64, in: TopicPartition, at: Int64)
    /// Sent to the group again.
    case replayed([UInt64])
    /// Of a snapshot.
    case restored(Letter)
    /// Of a snapshot: an entry that the topic does not have yet.
    case waiting(LetterEntry)
}
