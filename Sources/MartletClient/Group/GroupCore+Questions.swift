// What the steward asks the broker.
extension GroupCore {
    /// Asks, until the member is to end: its end waits for the steward, and must not wait for a broker
    /// that is away.
    ///
    /// - Throws: `CancellationError` when the member is to end; else what `question` throws.
    func ask<Answer: Sendable>(
        _ question: @escaping @Sendable (AdminClient) async throws -> Answer
    ) async throws -> Answer {
        let asking = Task { [admin] in try await question(admin) }
        await onQueue { core in
            if core.isEnding { asking.cancel() } else { core.stopAsking = { asking.cancel() } }
        }
        return try await asking.value
    }

    /// The member is to end: nothing is asked any more. Called on the queue.
    func endQuestions() {
        isEnding = true
        stopAsking?()
        stopAsking = nil
    }
}
