import MartletClient
import MartletConfiguration
import MartletSystem

extension CommandContext {
    /// Runs `body` with a client of the broker that the flags and the environment name.
    func withClient<Result>(
        _ body: (MartletClient) async throws -> Result
    ) async throws -> Result {
        try await Martlet.withClient(try clientConfiguration()) { client in
            do {
                return try await body(client)
            } catch let error as MartletError where error.code == .unknownTopic {
                throw await Self.naming(error, client)
            } catch let error as MartletError where error.code == .unknownGroup {
                throw await Self.namingGroup(error, client)
            }
        }
    }

    /// An unknown topic with the name that may have been meant.
    private static func naming(_ error: MartletError, _ client: MartletClient) async -> any Error {
        guard let name = error.context["topic"],
            let topics = try? await client.admin.listTopics(),
            let nearest = NearestName.find(name, in: topics.map(\.name))
        else { return error }
        return ToolError(describing: error, advice: "did you mean '\(nearest)'?")
    }

    /// An unknown group with what is left of it, or with the name that may have been meant.
    private static func namingGroup(
        _ error: MartletError, _ client: MartletClient
    ) async -> any Error {
        guard let name = error.context["group"] else { return error }
        if let topic = try? await DeadLetterTopic.name(of: name, client.admin) {
            let advice =
                "dead letters of one that was deleted are in topic \(topic), which 'martlet tail "
                + "\(topic) --from earliest' reads and 'martlet topic delete \(topic)' removes"
            return ToolError(describing: error, advice: advice)
        }
        guard let groups = try? await client.admin.listGroups(),
            let nearest = NearestName.find(name, in: groups.map(\.name))
        else { return error }
        return ToolError(describing: error, advice: "did you mean '\(nearest)'?")
    }

    func clientConfiguration() throws -> ClientConfiguration {
        let timeout = try invocation.milliseconds("timeout", in: 1...86_400_000)
        let connect = try invocation.milliseconds("connect-timeout", in: 0...86_400_000)
        let patience = connect.map { Duration.milliseconds($0) } ?? .seconds(3)
        return ClientConfiguration(
            server: try server, clientName: "martlet-cli",
            connectTimeout: max(.milliseconds(500), min(.seconds(5), patience)),
            requestTimeout: timeout.map { .milliseconds($0) } ?? .seconds(30), deadline: patience)
    }

    /// The partitions of `-p`, in order; nil when all are meant.
    func partitions(of topic: TopicInfo) throws -> [Int32]? {
        let words = invocation.values("partition")
        guard !words.isEmpty else { return nil }
        var result: [Int32] = []
        for word in words {
            guard let number = Int32(word), number >= 0 else {
                throw usage("--partition: '\(word)' is not a partition's number")
            }
            guard Int(number) < topic.partitions else {
                throw ToolError(
                    .notFound,
                    "topic \(topic.name) has no partition \(number), only 0 to "
                        + "\(topic.partitions - 1)")
            }
            if !result.contains(number) { result.append(number) }
        }
        return result.sorted()
    }

    /// Makes sure that a person means it: the name typed again, or `--yes`.
    func confirm(_ name: String, _ what: String) throws {
        if invocation.has("yes") { return }
        guard StandardStream.input.isTerminal, output.errorIsTerminal else {
            throw ToolError.usage("\(what): add --yes to do it without being asked")
        }
        output.message("\(what). Type the name to go on:")
        var line: [UInt8] = []
        var byte = [UInt8](repeating: 0, count: 1)
        while line.count <= 1024 {
            let count = try unsafe byte.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe StandardStream.input.read(into: buffer)
            }
            if count == 0 || byte[0] == 0x0A { break }
            line.append(byte[0])
        }
        guard String(decoding: line, as: UTF8.self) == name else {
            throw ToolError(.refused, "that is not '\(name)': nothing was done")
        }
    }
}

/// `KEY=VALUE` as flags and arguments take it.
struct KeyValue {
    let key: String
    let value: String

    init(parsing text: String, _ context: CommandContext) throws(CommandLineError) {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw context.usage("'\(text)' is not KEY=VALUE")
        }
        key = String(text[..<equals])
        value = String(text[text.index(after: equals)...])
    }
}
