import MartletWire

extension AdminClient {
    /// Says who is to look after dead letters. It changes nothing of what is sent again, holds until
    /// somebody says otherwise, and stands with its time and author in the topic of dead letters.
    ///
    /// - Parameters:
    ///   - numbers: which, as they are listed.
    ///   - group: its name.
    ///   - assignee: who; up to 200 bytes of UTF-8. nil or empty: nobody.
    ///   - author: who says so; up to 200 bytes of UTF-8.
    /// - Returns: those that were refused, by number, with `UNKNOWN_DEAD_LETTER`, or `LIMIT_REACHED`
    ///   when there are 1,000 assignments and comments of it, or too much waits for the topic.
    /// - Throws: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`. They are sent by the hundred: when it throws,
    ///   a part may be assigned, and asking again does the rest.
    @discardableResult
    public func assignDeadLetters(
        _ numbers: [UInt64], of group: String, to assignee: String?, author: String
    ) async throws -> [UInt64: MartletError] {
        try Self.check(author, "")
        let name = assignee ?? ""
        guard name.utf8.count <= WireLimits.failureKindBytesMax else {
            throw MartletError.invalid(
                "assignee", "is longer than \(WireLimits.failureKindBytesMax) bytes")
        }
        return try await inParts(numbers, group, of: WireLimits.remarkedLettersMax) { part in
            var request = AssignDeadLettersRequest()
            request.group = group
            request.author = author
            request.assignee = name
            request.letters = part
            return try await port.call(request, isRepeatable: true, facts: ["group": group])
                .results
        }
    }

    /// Says something about dead letters, to whoever looks at them later. It stands with its time
    /// and author in the topic of dead letters.
    ///
    /// - Parameters:
    ///   - numbers: which, as they are listed.
    ///   - group: its name.
    ///   - author: who says so; up to 200 bytes of UTF-8.
    ///   - note: what; 1 to 1,000 bytes of UTF-8.
    /// - Returns: those that were refused, by number, with `UNKNOWN_DEAD_LETTER`, or `LIMIT_REACHED`
    ///   when there are 1,000 assignments and comments of it, or too much waits for the topic.
    /// - Throws: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`. They are sent by the hundred, each hundred
    ///   whole or not at all: when it throws, a part may have the comment, and asking again makes
    ///   a second one there.
    @discardableResult
    public func commentDeadLetters(
        _ numbers: [UInt64], of group: String, author: String, note: String
    ) async throws -> [UInt64: MartletError] {
        try Self.check(author, note)
        guard !note.isEmpty else { throw MartletError.invalid("note", "is empty") }
        return try await inParts(numbers, group, of: WireLimits.remarkedLettersMax) { part in
            var request = CommentDeadLettersRequest()
            request.group = group
            request.author = author
            request.note = note
            request.letters = part
            return try await port.call(request, isRepeatable: false, facts: ["group": group])
                .results
        }
    }
}
