/// What people say about dead letters while nobody can handle them: who looks after one, and what was
/// found out. It changes nothing of what is sent again, and holds while it is with the group, too.
extension Coordinator {
    /// Says who is to look after letters; with an empty name nobody is. What is so already is not
    /// recorded again.
    package func assignLetters(
        _ name: String, _ numbers: [UInt64], to assignee: String, author: String, at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        try remark(name, numbers, at: now) { letter in
            letter.assignee != assignee
        } _: { number, letter in
            var entry = LetterEntry(.assigned, number: number, letter: letter, at: now.wall)
            (entry.author, entry.assignee) = (author, assignee)
            return entry
        }
    }

    /// Says something about letters.
    package func commentLetters(
        _ name: String, _ numbers: [UInt64], author: String, note: String, at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        guard !note.isEmpty else {
            throw .invalid(field: "note", reason: "is empty: say what there is to know")
        }
        return try remark(name, numbers, at: now) { _ in
            true
        } _: { number, letter in
            var entry = LetterEntry(.commented, number: number, letter: letter, at: now.wall)
            (entry.author, entry.note) = (author, note)
            return entry
        }
    }

    /// One entry for each letter that is not as it shall be.
    private func remark(
        _ name: String, _ numbers: [UInt64], at now: Now,
        where isNews: (Letter) -> Bool, _ make: (UInt64, Letter) -> LetterEntry
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        let letters = try group(name).state.letters
        var records: [GroupRecord] = []
        var refusals: [Int: GroupRefusal] = [:]
        var seen: Set<UInt64> = []
        var bytes = letters.waitingBytes
        for (index, number) in numbers.enumerated() {
            guard let letter = letters.letters[number] else {
                refusals[index] = .unknownLetter
                continue
            }
            guard seen.insert(number).inserted, isNews(letter) else { continue }
            if let full = roomLess(letter, bytes) {
                refusals[index] = full
                continue
            }
            var entry = make(letters.lastNumber + 1 + UInt64(records.count), letter)
            entry.topicName = topics[letter.origin.partition.topic]?.name ?? ""
            bytes += entry.bytes
            records.append(.letter(group: name, .entry(entry)))
        }
        return (limits.plantedBug == .dropRemarks ? [] : records, refusals)
    }

    /// Why no more may be said about it.
    private func roomLess(_ letter: Letter, _ waitingBytes: Int) -> GroupRefusal? {
        guard letter.remarks < limits.letterRemarksMax else {
            return .limitReached(
                "it was assigned and commented \(letter.remarks) times: no more is kept")
        }
        guard waitingBytes < limits.waitingLetterBytesMax else {
            return .limitReached(
                "\(waitingBytes) bytes wait for the dead letter topic: no more are taken")
        }
        return nil
    }
}

extension Letter {
    /// What somebody said about it.
    mutating func take(remark entry: LetterEntry) {
        if entry.kind == .assigned { assignee = entry.assignee }
        if remarks < .max { remarks += 1 }
    }

    /// It died again: what people did about it before still holds.
    mutating func keepStory(of former: Letter) {
        replays = former.replays
        (assignee, remarks) = (former.assignee, former.remarks)
        lastPlace = former.lastPlace
        (isOriginOwed, diedOnLane) = (former.isOriginOwed, former.diedOnLane)
    }
}
