import MartletFormat
import MartletStorage
import MartletWire

/// Finds topics and partitions for requests; the one place where a request's right to a topic is
/// decided. Thin: what exists is the storage's to say.
struct TopicCatalog: Sendable {
    private let engine: StorageEngine
    private let authorizer: any Authorizer

    init(engine: StorageEngine, authorizer: any Authorizer) {
        self.engine = engine
        self.authorizer = authorizer
    }

    /// Why a request gets no topic or partition.
    struct Refusal: Error {
        let code: ErrorCode
        let text: String

        init(_ code: ErrorCode, _ text: String? = nil) {
            self.code = code
            self.text = text ?? code.text
        }

        /// What a topic says that cannot be served; nil when it can.
        init?(offline topic: Topic) {
            switch topic.offlineReason {
            case nil: return nil
            case .deleted: self.init(.unknownTopicID)
            case .broken: self.init(.storageError, "topic \(topic.name) is offline")
            }
        }
    }

    /// The topic of an id, if the session may do to it what the operation does.
    func topic(
        _ id: TopicID, for operation: Operation, _ session: Authenticated
    ) throws(Refusal) -> Topic {
        guard let topic = engine.topic(id: id) else { throw Refusal(.unknownTopicID) }
        try authorize(topic, operation, session)
        return topic
    }

    /// The topic of a name, on the same terms.
    func topic(
        named name: String, for operation: Operation, _ session: Authenticated
    ) throws(Refusal) -> Topic {
        guard let topic = engine.topic(named: name) else { throw Refusal(.unknownTopic) }
        try authorize(topic, operation, session)
        return topic
    }

    /// A partition that can be served.
    func partition(
        _ number: Int32, of id: TopicID, for operation: Operation, _ session: Authenticated
    ) throws(Refusal) -> (topic: Topic, log: PartitionLog) {
        let topic = try topic(id, for: operation, session)
        if let refusal = Refusal(offline: topic) { throw refusal }
        guard let log = topic.partition(number) else { throw Refusal(.unknownPartition) }
        return (topic, log)
    }

    private func authorize(
        _ topic: Topic, _ operation: Operation, _ session: Authenticated
    ) throws(Refusal) {
        let access = operation.access
        guard authorizer.allows(session.principal, access, topic: topic.name) else {
            throw Refusal(
                .notAuthorized, "\(session.principal) may not \(operation.name) \(topic.name)")
        }
        // What died is not made up, and not thrown away record by record.
        let isOfLetters = topic.name.hasSuffix(TopicMetadata.reservedSuffix)
        if isOfLetters, operation == .produce || operation == .deleteRecords {
            throw Refusal(.notAuthorized, "\(topic.name) holds dead letters: see martlet dlq")
        }
        // The broker's own topics can be looked at and never changed from outside.
        guard topic.isInternal else { return }
        switch access.action {
        case .connect, .describe, .read: break
        case .create, .delete, .alter, .write:
            throw Refusal(.notAuthorized, "\(topic.name) belongs to the broker")
        }
    }
}

extension TopicID {
    /// A new id: 128 bits from the system's generator, so it is never given twice.
    static func random() -> TopicID {
        TopicID(
            high: UInt64.random(in: UInt64.min...UInt64.max),
            low: UInt64.random(in: UInt64.min...UInt64.max))
    }
}
