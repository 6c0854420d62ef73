import MartletFormat
import MartletWire

/// Administration of a broker: topics, offsets, state.
///
/// Every call waits for a connection up to the client's deadline, and for the answer up to the
/// request timeout. Calls that only read are repeated while the broker says that it may help; the
/// others are not, so after `CONNECTION_LOST` or `DEADLINE_EXCEEDED` look before you repeat.
/// All calls throw `MartletError`, or `CancellationError` when the task is cancelled.
public struct AdminClient: Sendable {
    let port: RequestPort

    // MARK: - Topics

    /// Makes a topic.
    ///
    /// - Parameters:
    ///   - name: of the topic: letters, digits, `.`, `_` and `-`.
    ///   - partitions: their number; nil takes the broker's default.
    ///   - settings: those that shall differ from the broker's defaults.
    ///   - validateOnly: check everything, but make nothing.
    /// - Returns: the topic.
    /// - Throws: `TOPIC_EXISTS`, `INVALID_TOPIC_NAME`, `INVALID_PARTITIONS`, `INVALID_CONFIG`,
    ///   `LIMIT_REACHED`, `DISK_FULL`.
    @discardableResult
    public func createTopic(
        _ name: String, partitions: Int? = nil, settings: [String: String] = [:],
        validateOnly: Bool = false
    ) async throws -> TopicInfo {
        var request = CreateTopicRequest()
        request.name = name
        if let partitions {
            guard let count = Int32(exactly: partitions), count > 0 else {
                throw MartletError.invalid("partitions", "is out of range: \(partitions)")
            }
            request.partitions = count
        }
        request.settings = settings.sorted { $0.key < $1.key }.map {
            TopicSettingChange($0.key, $0.value)
        }
        request.validateOnly = validateOnly
        let reply = try await port.call(request, isRepeatable: false, facts: ["topic": name])
        if !validateOnly { return try await topic(name) }
        return TopicInfo(
            id: reply.id.description, name: name, partitions: Int(reply.partitions),
            durability: nil, batchBytesMax: 0, isCompacted: false)
    }

    /// Looks a topic up.
    ///
    /// - Parameter name: of the topic.
    /// - Returns: the topic.
    /// - Throws: `UNKNOWN_TOPIC`.
    public func topic(_ name: String) async throws -> TopicInfo {
        try await metadata(name).info
    }

    /// Deletes a topic with all its records.
    ///
    /// - Parameter name: of the topic.
    /// - Throws: `UNKNOWN_TOPIC`.
    public func deleteTopic(_ name: String) async throws {
        var request = DeleteTopicRequest()
        request.id = try await metadata(name).id
        _ = try await port.call(request, isRepeatable: false, facts: ["topic": name])
    }

    /// All topics, by name.
    ///
    /// - Parameter includeInternal: also the broker's own, whose names begin with `$`.
    /// - Returns: one entry per topic.
    public func listTopics(includeInternal: Bool = false) async throws -> [TopicListing] {
        var request = ListTopicsRequest()
        request.includeInternal = includeInternal
        let reply = try await port.call(request, isRepeatable: true)
        return reply.topics.map {
            TopicListing(
                id: $0.id.description, name: $0.name, partitions: Int($0.partitions),
                durability: TopicDurability(rawValue: $0.durability), isInternal: $0.isInternal,
                isOnline: $0.online, bytes: $0.bytes)
        }
    }

    /// A topic's settings and the state of its partitions.
    ///
    /// - Parameter name: of the topic.
    /// - Returns: the description.
    /// - Throws: `UNKNOWN_TOPIC`.
    public func describeTopic(_ name: String) async throws -> TopicDescription {
        var request = DescribeTopicRequest()
        request.id = try await metadata(name).id
        let reply = try await port.call(request, isRepeatable: true, facts: ["topic": name])
        return TopicDescription(
            id: reply.id.description, name: reply.name,
            settings: reply.settings.map {
                TopicSettingValue(
                    key: $0.key, value: $0.value,
                    source: SettingSource(rawValue: $0.source) ?? .builtIn)
            },
            partitions: reply.partitions.map(PartitionStatus.init))
    }

    /// Changes settings of a topic: all of them or none.
    ///
    /// - Parameters:
    ///   - name: of the topic.
    ///   - changes: new values by setting; nil takes the topic's own value away again.
    ///   - validateOnly: check everything, but change nothing.
    /// - Returns: the values before and after, by setting.
    /// - Throws: `UNKNOWN_TOPIC`, `INVALID_CONFIG`.
    public func alterTopic(
        _ name: String, changes: [String: String?], validateOnly: Bool = false
    ) async throws -> [SettingChange] {
        var request = AlterTopicRequest()
        request.id = try await metadata(name).id
        request.changes = changes.sorted { $0.key < $1.key }.map {
            TopicSettingChange($0.key, $0.value)
        }
        request.validateOnly = validateOnly
        let reply = try await port.call(request, isRepeatable: false, facts: ["topic": name])
        return reply.settings.map {
            SettingChange(
                key: $0.key, before: $0.before, after: $0.after,
                source: SettingSource(rawValue: $0.source) ?? .builtIn)
        }
    }

    /// Raises the number of partitions. Keys may belong to other partitions afterwards.
    ///
    /// - Parameters:
    ///   - name: of the topic.
    ///   - total: the number afterwards; more than now.
    /// - Returns: the number afterwards.
    /// - Throws: `UNKNOWN_TOPIC`, `INVALID_PARTITIONS`.
    @discardableResult
    public func addPartitions(_ name: String, total: Int) async throws -> Int {
        guard let count = Int32(exactly: total), count > 0 else {
            throw MartletError.invalid("total", "is out of range: \(total)")
        }
        var request = AddPartitionsRequest()
        request.id = try await metadata(name).id
        request.total = count
        let reply = try await port.call(request, isRepeatable: false, facts: ["topic": name])
        return Int(reply.partitions)
    }

    // MARK: - Broker

    /// The broker in figures.
    ///
    /// - Returns: the figures.
    public func status() async throws -> BrokerStatus {
        BrokerStatus(try await port.call(StatusRequest(), isRepeatable: true))
    }

    /// What recovery did, what is unhealthy, and what to do.
    ///
    /// - Returns: the report.
    public func doctor() async throws -> DoctorReport {
        DoctorReport(try await port.call(DoctorRequest(), isRepeatable: true))
    }

    /// Asks for a sign of life.
    ///
    /// - Returns: how long the answer took, connecting not counted unless there was no connection.
    public func ping() async throws -> Duration {
        let start = ContinuousClock.now
        _ = try await port.call(PingRequest(), isRepeatable: false)
        return ContinuousClock.now - start
    }

    // MARK: - Helpers

    /// A topic by name, with its id in binary.
    func metadata(_ name: String) async throws -> TopicMetadata {
        var request = MetadataRequest()
        request.names = [TopicNameItem(name)]
        return try await port.topic(request, facts: ["topic": name])
    }
}

extension RequestPort {
    /// The first topic that is asked for. Asked again while the broker cannot say anything of it.
    func topic(
        _ request: MetadataRequest, facts: [String: String] = [:]
    ) async throws -> TopicMetadata {
        try await call(request, isRepeatable: true, facts: facts) { _, reply, _ in
            guard let topic = reply.topics.first else {
                throw MartletError.protocolError("The metadata reply names no topic.")
            }
            guard topic.error == .none else { throw MartletError(topic.error, topic.message) }
            return topic
        }
    }
}
