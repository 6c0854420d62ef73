import MartletClient

/// Reads what the topic of dead letters says of letters that are listed.
struct LetterReader: Sendable {
    let client: MartletClient
    let group: String

    private var topic: String { DeadLetterEntry.topic(of: group) }

    /// Offsets that are nearer to each other than this are read in one go.
    private static let gapMax: Int64 = 1_000

    /// Calls `body` with each letter, in the order in which their newest entries came.
    func each(
        _ letters: [DeadLetter], _ body: (LetterView) async throws -> Void
    ) async throws {
        var run: [(place: Int64, letter: DeadLetter)] = []
        let stored = letters.compactMap { letter in letter.place.map { ($0, letter) } }
        for (place, letter) in stored.sorted(by: { $0.0 < $1.0 }) {
            if let last = run.last, place - last.place > Self.gapMax {
                try await read(run, body)
                run = []
            }
            run.append((place, letter))
        }
        try await read(run, body)
        for letter in letters where letter.place == nil {
            try await body(LetterView(letter: letter, newest: nil, died: nil))
        }
    }

    private func read(
        _ run: [(place: Int64, letter: DeadLetter)],
        _ body: (LetterView) async throws -> Void
    ) async throws {
        guard let first = run.first, let last = run.last else { return }
        var rest = run[...]
        try await records(first.place..<(last.place + 1)) { record in
            while let next = rest.first, next.place <= record.offset {
                rest = rest.dropFirst()
                let entry = next.place == record.offset ? DeadLetterEntry(record) : nil
                try await body(try await view(next.letter, entry))
            }
        }
        // What somebody deleted from the topic.
        for (_, letter) in rest { try await body(try await view(letter, nil)) }
    }

    private func view(
        _ letter: DeadLetter, _ entry: DeadLetterEntry?
    ) async throws -> LetterView {
        guard let entry, entry.letter == letter.number else {
            return LetterView(letter: letter, newest: nil, died: nil)
        }
        if entry.kind == .died { return LetterView(letter: letter, newest: entry, died: entry) }
        var died: DeadLetterEntry?
        if letter.deaths == 1, let place = letter.place {
            let first = Self.firstPlace(of: entry, place)
            died = try await entries(of: entry, first..<(first + 1)).first
        }
        if died?.number != letter.number {
            died = try await history(of: letter, upTo: entry).last { $0.kind == .died }
        }
        return LetterView(letter: letter, newest: entry, died: died)
    }

    /// All entries of a letter up to its newest, oldest first.
    func history(
        of letter: DeadLetter, upTo newest: DeadLetterEntry
    ) async throws -> [DeadLetterEntry] {
        guard let place = letter.place else { return [] }
        let last = max(place, letter.lastPlace ?? place)
        if newest.number == letter.number, last == place { return [newest] }
        let first = Self.firstPlace(of: newest, place)
        let found = try await entries(of: newest, first..<(last + 1))
        if found.first?.number == letter.number { return found }
        return try await entries(of: newest, 0..<(last + 1))
    }

    /// What was done about a letter that is none any more, oldest first; empty: the topic does not
    /// know it. An entry lies nowhere before its number, unless somebody deleted the topic between.
    func story(ofGone number: UInt64) async throws -> [DeadLetterEntry] {
        let createdAt = try await client.admin.describeGroup(group).createdAt
        guard let end = try await end() else { return [] }
        let first = Int64(clamping: number) - 1
        return first < end ? try await entries(of: number, createdAt, first..<end) : []
    }

    /// nil: the group never had a dead letter.
    private func end() async throws -> Int64? {
        do {
            return try await client.admin.listOffsets(topic, at: .latest).first?.offset
        } catch let error as MartletError where error.code == .unknownTopic {
            return nil
        }
    }

    /// Where the letter's first entry lies, when its newest is there. The topic has a group's entries
    /// in the order of their numbers, so the first is not behind this; before it, only when the
    /// topic has something else as well.
    private static func firstPlace(of newest: DeadLetterEntry, _ place: Int64) -> Int64 {
        max(0, place - Int64(clamping: newest.number - min(newest.letter, newest.number)))
    }

    private func entries(
        of newest: DeadLetterEntry, _ range: Range<Int64>
    ) async throws -> [DeadLetterEntry] {
        try await entries(of: newest.letter, newest.groupCreatedAt, range)
    }

    private func entries(
        of letter: UInt64, _ groupCreatedAt: Int64, _ range: Range<Int64>
    ) async throws -> [DeadLetterEntry] {
        var found: [DeadLetterEntry] = []
        try await records(range) { record in
            guard let entry = DeadLetterEntry(record), entry.letter == letter,
                entry.groupCreatedAt == groupCreatedAt,
                // A broker that was killed may have written one twice.
                found.last?.number != entry.number
            else { return }
            found.append(entry)
        }
        return found
    }

    private func records(
        _ range: Range<Int64>, _ body: (ConsumedRecord) async throws -> Void
    ) async throws {
        var configuration = ConsumerConfiguration([
            .partition(topic, 0, start: .offset(range.lowerBound))
        ])
        configuration.resetPolicy = .earliest
        try await client.withConsumer(configuration) { consumer in
            let ends = [TopicPartition(topic, 0): range.upperBound]
            try await BoundedReading(consumer, ends: ends).run { batch in
                for record in batch where record.offset < range.upperBound {
                    try await body(record)
                }
                return true
            }
        }
    }
}
