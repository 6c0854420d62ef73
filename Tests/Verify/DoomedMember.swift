import Glibc
import MartletClient

/// A member of a queue as a process that one record ends, as soon as its handler begins:
/// `martlet-verify doomed-member SERVER GROUP TOPIC`
struct DoomedMember {
    private let server: String
    private let group: String
    private let topic: String

    init(_ arguments: [String]) throws {
        guard arguments.count == 3 else {
            throw VerifyError("usage: martlet-verify doomed-member SERVER GROUP TOPIC")
        }
        (server, group, topic) = (arguments[0], arguments[1], arguments[2])
    }

    func run() async throws {
        var configuration = QueueConfiguration(
            group, topics: [topic], concurrency: 4, prefetch: 20, lease: .seconds(1))
        configuration.sessionTimeout = .seconds(1)
        try await Martlet.withClient(ClientConfiguration(server: server)) { client in
            try await client.consumeQueue(configuration) { record in
                if record.record.valueBytes == Array("poison".utf8) {
                    kill(getpid(), SIGKILL)
                }
                return .done
            }
        }
    }
}
