import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletWire

/// Topics: look-ups on the loop, changes on a queue of their own, since they touch directories.
struct TopicHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    // MARK: - Look-ups

    func metadata(_ request: Request<MetadataRequest>) {
        var reply = MetadataReply()
        let catalog = services.catalog
        reply.topics += request.message.names.map { item in
            var entry = MartletWire.TopicMetadata()
            entry.name = item.name
            do throws(TopicCatalog.Refusal) {
                fill(
                    &entry, try catalog.topic(named: item.name, for: .metadata, request.session))
            } catch {
                refuse(&entry, error)
            }
            return entry
        }
        reply.topics += request.message.ids.map { item in
            var entry = MartletWire.TopicMetadata()
            entry.id = item.id
            do throws(TopicCatalog.Refusal) {
                fill(&entry, try catalog.topic(item.id, for: .metadata, request.session))
            } catch {
                refuse(&entry, error)
            }
            return entry
        }
        request.reply(reply)
    }

    private func fill(_ entry: inout MartletWire.TopicMetadata, _ topic: Topic) {
        let settings = topic.settings
        entry.id = topic.id
        entry.name = topic.name
        entry.partitions = Int32(clamping: topic.partitions.count)
        entry.durability = settings.durability.rawValue
        entry.batchBytesMax = UInt32(clamping: settings.batchBytesMax)
        // What compaction took stays away when the policy is another one again.
        entry.compacted =
            settings.cleanup.compacts || topic.partitions.contains { $0.wasCompacted }
        if let refusal = TopicCatalog.Refusal(offline: topic) { refuse(&entry, refusal) }
    }

    private func refuse(_ entry: inout MartletWire.TopicMetadata, _ refusal: TopicCatalog.Refusal) {
        entry.error = refusal.code
        entry.message = WireLimits.clip(refusal.text)
    }

    func list(_ request: Request<ListTopicsRequest>) {
        var reply = ListTopicsReply()
        let principal = request.session.principal
        let access = Operation.listTopics.access
        reply.topics = services.engine.topics().filter { topic in
            (request.message.includeInternal || !topic.isInternal)
                && services.authorizer.allows(principal, access, topic: topic.name)
        }.sorted { $0.name < $1.name }.map(summary)
        request.reply(reply)
    }

    private func summary(_ topic: Topic) -> TopicSummary {
        var summary = TopicSummary()
        summary.id = topic.id
        summary.name = topic.name
        summary.partitions = Int32(clamping: topic.partitions.count)
        summary.durability = topic.settings.durability.rawValue
        summary.isInternal = topic.isInternal
        summary.online = topic.isOnline
        summary.bytes = topic.partitions.reduce(0) { $0 + $1.view.bytes }
        return summary
    }

    func describe(_ request: Request<DescribeTopicRequest>) {
        // Thousands of partitions are looked at: not on a loop.
        request.answer(on: services.readers.next()) { request in
            do throws(TopicCatalog.Refusal) {
                let topic = try services.catalog.topic(
                    request.message.id, for: .describeTopic, request.session)
                return description(of: topic)
            } catch {
                return DescribeTopicReply(error: error.code, message: error.text)
            }
        }
    }

    private func description(of topic: Topic) -> DescribeTopicReply {
        var reply = DescribeTopicReply()
        reply.id = topic.id
        reply.name = topic.name
        let settings = topic.settings
        reply.settings = TopicSettings.keys.map { key in
            TopicSetting(
                key.name, settings.value(of: key.name) ?? "",

                source: topic.source(of: key.name, brokerSets: services.settingsOfBroker).rawValue)
        }
        reply.partitions = topic.partitions.map { log in
            var entry = description(of: log)
            if settings.retentionMode == .untilConsumed {
                let mark = services.groups.consumed(topic: topic.id, partition: log.partition)
                entry.consumed = mark.offset
                entry.heldBy = mark.group ?? ""
            }
            return entry
        }
        return reply
    }

    private func description(of log: PartitionLog) -> PartitionDescription {
        let view = log.view
        var entry = PartitionDescription()
        entry.partition = log.partition
        entry.state = view.state.rawValue
        entry.logStart = view.logStart
        entry.highWatermark = view.highWatermark
        entry.durableEnd = view.durableEnd
        // Nothing above the high watermark is shown (design: replies that show state).
        entry.logEnd = view.highWatermark
        entry.leaderEpoch = view.leaderEpoch
        entry.segments = UInt32(clamping: view.segments)
        entry.bytes = view.bytes
        entry.firstAppendTime = view.firstAppendTime
        entry.lastAppendTime = view.lastAppendTime
        entry.gaps = ranges(view.gaps)
        entry.damaged = ranges(view.damaged)
        return entry
    }

    private func ranges(_ ranges: [Range<Int64>]) -> [OffsetRange] {
        ranges.prefix(WireLimits.rangesMax).map { OffsetRange($0.lowerBound, $0.upperBound) }
    }

    // MARK: - Changes

    func create(_ request: Request<CreateTopicRequest>) {
        guard !request.message.name.hasPrefix("$") else {
            return request.reply(.invalidTopicName, "names that begin with $ are the broker's")
        }
        let allowed = services.authorizer.allows(
            request.session.principal, Operation.createTopic.access, topic: request.message.name)
        guard allowed else { return request.reply(.notAuthorized) }
        request.answer(on: services.changes) { request in
            let message = request.message
            do throws(StorageError) {
                return try create(message)
            } catch {
                return CreateTopicReply(error: StorageErrors.code(error), message: error.message)
            }
        }
    }

    private func create(_ message: CreateTopicRequest) throws(StorageError) -> CreateTopicReply {
        let partitions =
            message.partitions == -1
            ? services.configuration.topic.partitions : message.partitions
        guard partitions > 0 else {
            return CreateTopicReply(
                error: .invalidPartitions, message: "\(partitions) partitions are too few")
        }
        var settings: [String: String] = [:]
        for change in message.settings {
            let (key, value) = try TopicSettingText.canonical(change.key, change.value)
            settings[key] = value
        }
        let topic = try services.engine.createTopic(
            name: message.name, partitions: partitions, settings: settings, id: .random(),
            validateOnly: message.validateOnly)
        if topic != nil { services.groups.topicsChanged() }
        var reply = CreateTopicReply()
        reply.id = topic?.id ?? .zero
        reply.partitions = partitions
        return reply
    }

    func delete(_ request: Request<DeleteTopicRequest>) {
        change(request, request.message.id, .deleteTopic) { topic throws(StorageError) in
            if let group = services.groups.ownerOfLetters(topic.name) {
                throw StorageError(
                    .invalidName, "\(topic.name) holds dead letters: delete group \(group) first")
            }
            try services.engine.deleteTopic(topic.id)
            services.groups.topicsChanged(deleted: topic.id)
            return DeleteTopicReply()
        }
    }

    func alter(_ request: Request<AlterTopicRequest>) {
        let message = request.message
        change(request, message.id, .alterTopic) { topic throws(StorageError) in
            var wanted: [(key: String, value: String?)] = []
            for change in message.changes {
                wanted.append(try TopicSettingText.canonical(change.key, change.value))
            }
            let changes = try services.engine.alterTopic(
                topic.id, changes: wanted, validateOnly: message.validateOnly)
            // Some settings are told to groups.
            if !message.validateOnly { services.groups.topicsChanged() }
            var reply = AlterTopicReply()
            reply.settings = changes.map { change in
                var item = SettingDifference()
                item.key = change.key
                item.before = change.before
                item.after = change.after
                // Storage cannot tell the configuration's value from the built-in one.
                let isBuiltIn =
                    change.source == .broker && !services.settingsOfBroker.contains(change.key)
                item.source = (isBuiltIn ? SettingSource.builtIn : change.source).rawValue
                return item
            }
            return reply
        }
    }

    func addPartitions(_ request: Request<AddPartitionsRequest>) {
        let total = request.message.total
        change(request, request.message.id, .addPartitions) { topic throws(StorageError) in
            guard total > topic.partitionCount else {
                return AddPartitionsReply(
                    error: .invalidPartitions,
                    message: "\(topic.name) has "
                        + "\(Counted.text(topic.partitionCount, "partition")) already")
            }
            try services.engine.addPartitions(topic.id, total: total)
            services.groups.topicsChanged()
            var reply = AddPartitionsReply()
            reply.partitions = Int32(clamping: topic.partitions.count)
            return reply
        }
    }

    /// Looks the topic up and changes it where blocking is allowed.
    private func change<Message: WireRequest>(
        _ request: Request<Message>, _ id: TopicID, _ operation: Operation,
        _ body: @escaping @Sendable (Topic) throws(StorageError) -> Message.Reply
    ) {
        request.answer(on: services.changes) { request in
            let topic: Topic
            do throws(TopicCatalog.Refusal) {
                topic = try services.catalog.topic(id, for: operation, request.session)
            } catch {
                return Message.Reply(error: error.code, message: error.text)
            }
            do throws(StorageError) {
                return try body(topic)
            } catch {
                return Message.Reply(error: StorageErrors.code(error), message: error.message)
            }
        }
    }
}
