import MartletFormat
import MartletWire

extension AdminClient {
    /// Sets what becomes of records whose handlers fail, from now on. The broker's own, until
    /// somebody sets one: three attempts with pauses of 2 s and 4 s, then a dead letter.
    ///
    /// - Parameters:
    ///   - policy: what shall hold.
    ///   - group: its name.
    /// - Throws: `UNKNOWN_GROUP`; `INVALID_ARGUMENT` names the field.
    public func setFailurePolicy(_ policy: FailurePolicy, of group: String) async throws {
        var request = SetFailurePolicyRequest()
        request.group = group
        request.policy = try policy.item()
        _ = try await port.call(request, isRepeatable: true, facts: ["group": group])
    }

    /// Lets a group go on whose breaker is open or half-open: what failed before counts no more.
    ///
    /// - Parameter group: its name.
    /// - Throws: `UNKNOWN_GROUP`; `INVALID_REQUEST` when its policy has no breaker.
    public func closeBreaker(of group: String) async throws { try await setBreaker(group, false) }

    /// Hands out nothing for as long as the policy of the group says, as if too much had failed.
    ///
    /// - Parameter group: its name.
    /// - Throws: `UNKNOWN_GROUP`; `INVALID_REQUEST` when its policy has no breaker.
    public func openBreaker(of group: String) async throws { try await setBreaker(group, true) }

    private func setBreaker(_ group: String, _ isOpen: Bool) async throws {
        var request = SetBreakerRequest()
        request.group = group
        request.isOpen = isOpen
        _ = try await port.call(request, isRepeatable: true, facts: ["group": group])
    }

    /// The dead letters of a group that are neither handled nor resolved, in order of their numbers.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - number: only those behind it; 0: from the first.
    ///   - limit: so many at most; nil: all of them.
    /// - Returns: one entry per dead letter. The records are in the topic
    ///   `DeadLetterEntry.topic(of: group)`.
    /// - Throws: `UNKNOWN_GROUP`.
    public func deadLetters(
        of group: String, after number: UInt64 = 0, limit: Int? = nil
    ) async throws -> [DeadLetter] {
        var lines: [DeadLetterLine] = []
        var request = ListDeadLettersRequest()
        request.group = group
        request.after = number
        var left = limit ?? .max
        while left > 0 {
            request.max = UInt32(clamping: min(left, WireLimits.lettersMax))
            let reply = try await port.call(request, isRepeatable: true, facts: ["group": group])
            lines += reply.letters.prefix(left)
            left -= min(left, reply.letters.count)
            guard reply.hasMore, let last = reply.letters.last?.number, last > request.after else {
                break
            }
            request.after = last
        }
        let names = try await topicNames(Set(lines.map(\.topic)))
        return try lines.map { line in
            try DeadLetter(line, topic: names[line.topic] ?? "")
        }
    }

    /// Sends dead letters to their group again, beside its normal flow, whose offsets they never
    /// touch. One that is with the group already is not sent twice.
    ///
    /// - Parameters:
    ///   - numbers: which, as they are listed.
    ///   - group: its name.
    ///   - replaysMax: those that were sent so often before stay; nil: none does. 1 to 65,535.
    /// - Returns: those that were refused, by number, with `UNKNOWN_DEAD_LETTER`,
    ///   `DEAD_LETTER_QUARANTINED`, or `DEAD_LETTER_BUSY` for one that is not in its topic yet.
    ///   Empty: all are with the group.
    /// - Throws: `UNKNOWN_GROUP`. They are sent by the thousand: when it throws,
    ///   a part may be with the group, and asking again does the rest.
    @discardableResult
    public func replayDeadLetters(
        _ numbers: [UInt64], of group: String, replaysMax: Int? = 3
    ) async throws -> [UInt64: MartletError] {
        let most = UInt16(exactly: replaysMax ?? 0)
        guard let most, replaysMax != 0 else {
            throw MartletError.invalid("replaysMax", "must be 1 to 65,535")
        }
        return try await inParts(numbers, group) { part in
            var request = ReplayDeadLettersRequest()
            request.group = group
            request.replaysMax = most
            request.letters = part
            return try await port.call(request, isRepeatable: false, facts: ["group": group])
                .results
        }
    }

    /// Says that dead letters need no handling any more. They count as handled from then on, and who
    /// said so and why stands in the topic.
    ///
    /// - Parameters:
    ///   - numbers: which, as they are listed.
    ///   - group: its name.
    ///   - author: who says so; up to 200 bytes of UTF-8.
    ///   - note: why; up to 1,000 bytes of UTF-8.
    /// - Returns: those that were refused, by number, with `UNKNOWN_DEAD_LETTER`.
    /// - Throws: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`.
    @discardableResult
    public func resolveDeadLetters(
        _ numbers: [UInt64], of group: String, author: String, note: String
    ) async throws -> [UInt64: MartletError] {
        try Self.check(author, note)
        return try await inParts(numbers, group) { part in
            var request = ResolveDeadLettersRequest()
            request.group = group
            request.author = author
            request.note = note
            request.letters = part
            return try await port.call(request, isRepeatable: false, facts: ["group": group])
                .results
        }
    }

    /// Changes what is sent to the group when a dead letter is sent again. What died stays in the
    /// topic, and who changed it and why stands there too.
    ///
    /// - Parameters:
    ///   - number: which, as it is listed.
    ///   - group: its name.
    ///   - key: of the record that shall be sent; nil: it has none.
    ///   - value: its content; nil is a tombstone.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - timestamp: its event time in milliseconds since 1970.
    ///   - author: who changes it; up to 200 bytes of UTF-8.
    ///   - note: why; up to 1,000 bytes of UTF-8.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_DEAD_LETTER`, `DEAD_LETTER_BUSY` while it is with the
    ///   group, `MESSAGE_TOO_LARGE`, `INVALID_RECORD`, `LIMIT_REACHED`, `INVALID_ARGUMENT`.
    public func editDeadLetter(
        _ number: UInt64, of group: String, key: [UInt8]?, value: [UInt8]?,
        headers: [RecordHeader], timestamp: Int64, author: String, note: String
    ) async throws {
        try Self.check(author, note)
        var request = EditDeadLetterRequest()
        request.group = group
        request.number = number
        request.author = author
        request.note = note
        request.record = BytesPiece.pieces(try Self.batch(key, value, headers, timestamp))
        _ = try await port.call(
            request, isRepeatable: false, facts: ["group": group, "letter": "\(number)"])
    }

    // MARK: - Helpers

    static func check(_ author: String, _ note: String) throws(MartletError) {
        guard author.utf8.count <= WireLimits.failureKindBytesMax else {
            throw .invalid("author", "is longer than \(WireLimits.failureKindBytesMax) bytes")
        }
        guard note.utf8.count <= WireLimits.failureTextBytesMax else {
            throw .invalid("note", "is longer than \(WireLimits.failureTextBytesMax) bytes")
        }
    }

    /// A batch of one record.
    private static func batch(
        _ key: [UInt8]?, _ value: [UInt8]?, _ headers: [RecordHeader], _ timestamp: Int64
    ) throws(MartletError) -> [UInt8] {
        let headers = headers.map { (key: $0.key, value: $0.value) }
        let size = RecordBatchBuilder.estimatedBytes(
            keyBytes: key?.count ?? 0, valueBytes: value?.count ?? 0, headers: headers)
        guard size < WireLimits.piecesMax * BytesPiece.bytesMax else {
            throw .invalid("value", "is too large for a batch")
        }
        let slab = ByteSlab(capacity: RecordBatch.headerBytes + size)
        let builder = RecordBatchBuilder(slab: slab)
        let isIn = unsafe builder.append(
            key: key?.span.bytes, value: value?.span.bytes, headers: headers, timestamp: timestamp)
        guard isIn else { throw .invalid("value", "fits in no batch") }
        _ = builder.finish()
        return slab.bytes.array(0..<slab.count)
    }

    func inParts(
        _ numbers: [UInt64], _ group: String, of most: Int = WireLimits.lettersMax,
        _ change: ([DeadLetterNumber]) async throws -> [CommitResult]
    ) async throws -> [UInt64: MartletError] {
        var refused: [UInt64: MartletError] = [:]
        var rest = numbers[...]
        while !rest.isEmpty {
            let part = rest.prefix(most)
            rest = rest.dropFirst(part.count)
            let results = try await change(part.map { DeadLetterNumber($0) })
            guard results.count == part.count else {
                throw MartletError.protocolError("The reply has another length than its request.")
            }
            for (number, result) in zip(part, results) where result.error != .none {
                refused[number] = MartletError(
                    result.error, result.message,
                    context: ["group": group, "letter": "\(number)"])
            }
        }
        return refused
    }

    /// Topics that were deleted have no name.
    func topicNames(_ ids: Set<TopicID>) async throws -> [TopicID: String] {
        var names: [TopicID: String] = [:]
        var rest = Array(ids)[...]
        while !rest.isEmpty {
            var request = MetadataRequest()
            request.ids = rest.prefix(WireLimits.namesMax).map { TopicIDItem($0) }
            rest = rest.dropFirst(request.ids.count)
            for topic in try await port.call(request, isRepeatable: true).topics
            where topic.error == .none {
                names[topic.id] = topic.name
            }
        }
        return names
    }
}

extension DeadLetter {
    fileprivate init(_ line: DeadLetterLine, topic: String) throws(MartletError) {
        self.init(
            number: line.number, partition: TopicPartition(topic, line.partition),
            offset: line.offset, reason: try DeadLetterReason(wire: line.reason),
            attempts: Int(line.attempts), deaths: Int(line.deaths), replays: Int(line.replays),
            diedAt: line.diedAt, isReplaying: line.state == 1,
            place: line.place < 0 ? nil : line.place,
            lastPlace: line.lastPlace < 0 ? nil : line.lastPlace,
            assignee: line.assignee.isEmpty ? nil : line.assignee, remarks: Int(line.remarks))
    }
}

extension DeadLetterReason {
    fileprivate init(wire: UInt8) throws(MartletError) {
        switch wire {
        case 1: self = .permanent
        case 2: self = .attempts
        case 3: self = .rejected
        case 4: self = .retention
        default:
            throw .protocolError("The broker names a reason, \(wire), that is not known.")
        }
    }
}
