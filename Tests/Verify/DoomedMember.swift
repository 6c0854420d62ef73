import Glibc
import MartletClient

/// A member of a group as a process that one record ends, as soon as its handler begins; of a stream
/// group with `serial` or `perKey`:
/// `martlet-verify doomed-member SERVER GROUP TOPIC [serial|perKey]`
struct DoomedMember {
    private let server: String
    private let group: String
    private let topic: String
    /// nil: the group is a queue.
    private let handling: GroupHandling?

    init(_ arguments: [String]) throws {
        guard 3...4 ~= arguments.count else { throw Self.usage }
        (server, group, topic) = (arguments[0], arguments[1], arguments[2])
        switch arguments.count == 4 ? arguments[3] : nil {
        case nil: handling = nil
        case "serial": handling = .serial
        case "perKey": handling = .perKey(4)
        case .some: throw Self.usage
        }
    }

    private static let usage = VerifyError(
        "usage: martlet-verify doomed-member SERVER GROUP TOPIC [serial|perKey]")

    func run() async throws {
        try await Martlet.withClient(ClientConfiguration(server: server)) { client in
            guard let handling else { return try await takeFromQueue(client) }
            var configuration = GroupConsumerConfiguration(
                group, topics: [topic], sessionTimeout: .seconds(1))
            configuration.failures = .byPolicy
            try await client.consumeGroup(configuration, handling: handling) { record in
                // What began beside it has not ended when the process does.
                if handling != .serial {
                    try await Task.sleep(for: .milliseconds(Self.isPoison(record) ? 50 : 150))
                }
                Self.handle(record)
            }
        }
    }

    private func takeFromQueue(_ client: MartletClient) async throws {
        var configuration = QueueConfiguration(
            group, topics: [topic], concurrency: 4, prefetch: 20, lease: .seconds(1))
        configuration.sessionTimeout = .seconds(1)
        try await client.consumeQueue(configuration) { record in
            Self.handle(record.record)
            return .done
        }
    }

    private static func isPoison(_ record: ConsumedRecord) -> Bool {
        record.valueBytes == Array("poison".utf8)
    }

    /// Says on the standard output what it has done.
    private static func handle(_ record: ConsumedRecord) {
        if isPoison(record) { kill(getpid(), SIGKILL) }
        print(record.valueString ?? "")
        fflush(nil)
    }
}
