import MartletClient

/// A member of a stream group as a process whose handler fails for good with the records of one key;
/// it tells each record that its handler ended well with, a line for each:
/// `martlet-verify failing-member SERVER GROUP TOPIC [KEY]`
struct FailingMember {
    private let server: String
    private let group: String
    private let topic: String
    private let badKey: String?

    init(_ arguments: [String]) throws {
        guard 3...4 ~= arguments.count else {
            throw VerifyError("usage: martlet-verify failing-member SERVER GROUP TOPIC [KEY]")
        }
        (server, group, topic) = (arguments[0], arguments[1], arguments[2])
        badKey = arguments.count == 4 ? arguments[3] : nil
    }

    func run() async throws {
        var configuration = GroupConsumerConfiguration(
            group, topics: [topic], sessionTimeout: .seconds(2),
            commitPolicy: .afterProcessing(interval: .milliseconds(20)))
        configuration.failures = .byPolicy
        let badKey = badKey
        try await Martlet.withClient(ClientConfiguration(server: server)) { client in
            try await client.consumeGroup(configuration, handling: .perKey(4)) { record in
                let key = record.keyString ?? ""
                if key == badKey { throw PermanentError("bad") }
                Console.write("done \(key) \(record.offset)")
            }
        }
    }
}
