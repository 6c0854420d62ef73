/// Dead letters, as people and the broker handle them.
extension Coordinator {
    package func setPolicy(
        _ name: String, _ policy: FailurePolicy
    ) throws(GroupRefusal) -> [GroupRecord] {
        let state = try group(name).state
        try policy.check(limits)
        guard policy.last != .parkKey || state.kind == .stream || state.kind.isOrdered else {
            throw .invalid(
                field: "last",
                reason: "keys are parked in streams, and in queues that were made with order by key"
            )
        }
        var records: [GroupRecord] = []
        if state.policy != policy { records.append(.policy(group: name, policy)) }
        if policy.breaker.isOff, state.breaker != .closed {
            records.append(.breaker(group: name, .closed))
        }
        return records
    }

    package func policy(of name: String) throws(GroupRefusal) -> FailurePolicy {
        try group(name).state.policy
    }

    /// Letters of a group after a number, in order.
    package func letters(
        of name: String, after number: UInt64, max: Int
    ) throws(GroupRefusal) -> (letters: [Letter], topic: TopicPartition?, hasMore: Bool) {
        let letters = try group(name).state.letters
        let found = letters.letters.keys.filter { $0 > number }.sorted()
        let page = found.prefix(max).compactMap { letters.letters[$0] }
        return (page, letters.topic, found.count > page.count)
    }

    /// Sends letters to the group again. Those that were sent `replaysMax` times before stay, unless
    /// it is 0.
    package func replayLetters(
        _ name: String, _ numbers: [UInt64], replaysMax: UInt16
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        let state = try group(name).state
        var taken: [UInt64] = []
        var refusals: [Int: GroupRefusal] = [:]
        var seen: Set<UInt64> = []
        for (index, number) in numbers.enumerated() {
            guard let letter = state.letters.letters[number] else {
                refusals[index] = .unknownLetter
                continue
            }
            // Asked for twice is asked for once.
            guard !letter.isReplaying, seen.insert(number).inserted else { continue }
            guard replaysMax == 0 || letter.replays < replaysMax else {
                refusals[index] = .quarantined(replays: letter.replays)
                continue
            }
            guard letter.place != nil else {
                refusals[index] = .notStored
                continue
            }
            taken.append(number)
        }
        let records: [GroupRecord] =
            taken.isEmpty ? [] : [.letter(group: name, .replayed(taken))]
        return (records, refusals)
    }

    /// They need no handling any more: somebody says so.
    package func resolveLetters(
        _ name: String, _ numbers: [UInt64], author: String, note: String, at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        let letters = try group(name).state.letters
        var records: [GroupRecord] = []
        var refusals: [Int: GroupRefusal] = [:]
        var seen: Set<UInt64> = []
        for (index, number) in numbers.enumerated() {
            guard let letter = letters.letters[number] else {
                refusals[index] = .unknownLetter
                continue
            }
            guard seen.insert(number).inserted else { continue }
            let next = letters.lastNumber + 1 + UInt64(records.count)
            var entry = LetterEntry(.resolved, number: next, letter: letter, at: now.wall)
            entry.topicName = topics[letter.origin.partition.topic]?.name ?? ""
            (entry.author, entry.note) = (author, note)
            records.append(.letter(group: name, .entry(entry)))
        }
        return (records, refusals)
    }

    /// Changes what will be sent to the group; what died stays in the topic.
    package func editLetter(
        _ name: String, _ number: UInt64, body: [UInt8], author: String, note: String, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let letters = try group(name).state.letters
        guard let letter = letters.letters[number] else { throw .unknownLetter }
        guard !letter.isReplaying else { throw .replaying }
        guard letters.waitingBytes < limits.waitingLetterBytesMax else {
            throw .limitReached(
                "\(letters.waitingBytes) bytes wait for the dead letter topic: no more are taken")
        }
        var entry = LetterEntry(
            .edited, number: letters.lastNumber + 1, letter: letter, at: now.wall)
        entry.topicName = topics[letter.origin.partition.topic]?.name ?? ""
        (entry.author, entry.note, entry.body) = (author, note, body)
        return [.letter(group: name, .entry(entry))]
    }

    /// Entries that the dead letter topic does not have, in order: at least one, and then no more
    /// than `bytesMax`. With them, where to look for what it may have all the same.
    package func waitingEntries(
        of name: String, bytesMax: Int
    ) -> (entries: [LetterEntry], lastPlace: Int64, createdAt: Int64)? {
        guard let state = groups[name]?.state, !state.letters.waiting.isEmpty,
            limits.plantedBug != .loseDeadLetters
        else { return nil }
        var bytes = 0
        let sorted = state.letters.waiting.keys.sorted().lazy
            .compactMap { state.letters.waiting[$0] }
        let entries = sorted.prefix { entry in
            defer { bytes += entry.bytes }
            return bytes == 0 || bytes + entry.bytes <= bytesMax
        }
        return (Array(entries), state.letters.lastPlace, state.createdAt)
    }

    /// The topic has these entries.
    package func store(
        _ name: String, _ places: [(number: UInt64, place: Int64)], in topic: TopicPartition
    ) -> [GroupRecord] {
        guard let letters = groups[name]?.state.letters else { return [] }
        return places.filter { letters.waiting[$0.number] != nil }
            .map { .letter(group: name, .stored($0.number, in: topic, at: $0.place)) }
    }

    /// Groups with entries that their topics do not have.
    package var groupsWithWaitingEntries: [String] {
        groups.filter { !$0.value.state.letters.waiting.isEmpty }.map(\.key)
    }

    // MARK: - In memory

    /// Makes memory agree with a change that holds now. `place`: where the letter was on the lane.
    mutating func follow(_ name: String, _ change: LetterChange, leaving place: Int64?) {
        switch change {
        case .entry(let entry):
            if let place, let lane = groups[name]?.state.letters.lane {
                groups[name]?.activity.queues[lane]?.settle(place..<(place + 1))
            } else if entry.kind == .died {
                let offset = entry.origin.offset
                let queue = entry.origin.queue
                if groups[name]?.activity.queues[queue]?.settle(offset..<(offset + 1)) == true {
                    readyQueues.insert(name)
                }
                wakeIfFull(name)
            }
        case .replayed(let numbers):
            guard let letters = groups[name]?.state.letters, let lane = letters.lane else { return }
            for place in numbers.compactMap({ letters.letters[$0]?.place }) {
                groups[name]?.activity.queues[lane]?.giveBack(place..<(place + 1))
            }
            readyQueues.insert(name)
        case .stored, .restored, .waiting: break
        }
    }
}

extension GroupState {
    /// Where the letter of a change is on the lane before the change holds; nil also when it stays
    /// there.
    func lanePlace(of change: LetterChange) -> Int64? {
        guard case .entry(let entry) = change, !entry.kind.isRemark,
            let letter = letters.letters[entry.letter],
            letter.isReplaying
        else { return nil }
        return letter.place
    }
}

extension LetterEntry {
    /// About a letter that there is.
    init(_ kind: Kind, number: UInt64, letter: Letter, at: Int64) {
        let nothing = HandlerFailure(.rejected, kind: "", text: "", at: at)
        self.init(
            kind, number: number, letter: letter.number, origin: letter.origin,
            trail: FailureTrail(first: nothing, last: nothing), at: at)
        attempts = letter.attempts
        deaths = letter.deaths
        reason = letter.reason
    }
}

/// The dead letters of a group, counted.
package struct LetterCounts: Equatable, Sendable {
    /// Neither handled nor resolved, and not with the group.
    package var dead: Int64 = 0
    /// With the group again.
    package var replaying: Int64 = 0
    /// Entries that the dead letter topic does not have yet.
    package var waiting: Int64 = 0
    /// When the oldest of the dead ones died, in milliseconds since 1970 UTC.
    package var oldestAt: Int64?

    init(_ letters: DeadLetters) {
        waiting = Int64(letters.waiting.count)
        for letter in letters.letters.values {
            if letter.isReplaying {
                replaying += 1
            } else {
                dead += 1
                oldestAt = min(oldestAt ?? letter.diedAt, letter.diedAt)
            }
        }
    }
}
