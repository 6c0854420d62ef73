/// The way in: a client for the time of a closure.
public enum Martlet {
    /// Runs `body` with a client. When `body` ends, however it ends, every producer and consumer of
    /// the client is closed before this call returns: producers send what is left, and nothing of
    /// the client runs afterwards.
    ///
    /// No connection is made before something needs one.
    ///
    /// `body` and its child tasks run on threads of this library, as many as there are processors,
    /// unless they prefer an executor already or belong to an actor: to wake a task there costs less
    /// than in the runtime's own pool. What holds in that pool holds here: nothing should block.
    ///
    /// - Parameters:
    ///   - configuration: how to reach the broker.
    ///   - body: what to do with the client.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws; `INVALID_ARGUMENT` for the configuration.
    public static func withClient<R>(
        _ configuration: ClientConfiguration = ClientConfiguration(),
        _ body: (MartletClient) async throws -> R
    ) async throws -> R {
        let client = try MartletClient(configuration)
        do {
            let result = try await TaskPool.use { try await body(client) }
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }
}
