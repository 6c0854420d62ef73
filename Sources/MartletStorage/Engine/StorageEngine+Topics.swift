package import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// One setting before and after a change.
package struct SettingChange: Sendable {
    package let key: String
    /// The effective value; nil when the topic did not set it.
    package let before: String?
    package let after: String?
    package let source: SettingSource
}

extension StorageEngine {
    /// Makes a topic that is there after a crash, or not at all. Blocks.
    ///
    /// - Parameter settings: Canonical texts by key (`TopicSettings.keys`).
    /// - Throws: `invalidName`, `topicExists`, `invalidSetting`, `limitReached`, `diskFull`,
    ///   `offline` while the name of a topic that is there cannot be read.
    package func createTopic(
        name: String, partitions: Int32, settings: [String: String], id: TopicID,
        isInternal: Bool = false, validateOnly: Bool = false
    ) throws(StorageError) -> Topic? {
        try changes.withLock { _ throws(StorageError) -> Topic? in
            if let problem = TopicMetadata.problem(withName: name, isInternal: isInternal) {
                throw StorageError(.invalidName, problem)
            }
            guard topic(named: name) == nil else {
                throw StorageError(.topicExists, "topic \"\(name)\" exists already")
            }
            try checkNames(name)
            guard partitions > 0 else {
                throw StorageError(.invalidSetting, "partitions: \(partitions) is less than 1")
            }
            try checkLimits(addingTopics: 1, partitions: Int(partitions), of: partitions)
            let metadata = TopicMetadata(
                id: id, name: name, partitions: partitions, overrides: settings)
            let typed = try metadata.settings(over: context.options.defaults)
            try checkRetention(typed, of: metadata)
            if validateOnly { return nil }
            guard context.space.isWritable else {
                throw StorageError(.diskFull, context.space.reason)
            }
            try guardFatal { () throws(StorageError) in try store.create(metadata) }
            let logs = try openNew(metadata, typed)
            let topic = Topic(metadata, settings: typed, partitions: logs)
            catalog.withLock { catalog in
                catalog.byID[id] = topic
                catalog.byName[name] = topic
            }
            return topic
        }
    }

    /// The broker's own topics and dead letters are kept as long as they are needed.
    private func checkRetention(
        _ settings: TopicSettings, of metadata: TopicMetadata
    ) throws(StorageError) {
        let (kept, most) = (
            settings.retentionMilliseconds, context.options.retentionMillisecondsMax
        )
        guard most >= 0, kept < 0 || kept > most, !metadata.isInternal,
            !metadata.name.hasSuffix(TopicMetadata.reservedSuffix)
        else { return }
        let reason =
            settings.retentionMode == .untilConsumed && metadata.overrides["retention.ms"] == nil
            ? "until-consumed keeps records for ever when the topic sets no time of its own"
            : kept < 0 ? "-1 keeps records for ever" : "\(kept) ms is too long"
        throw StorageError(
            .invalidSetting,
            "retention.ms: \(reason), this broker allows \(most) ms at most "
                + "([storage] retention.time.max)")
    }

    /// Takes a topic away for ever. Its files are removed in the background. Blocks.
    /// - Throws: `diskFull` when there is no room for the name that marks it as deleted, also not with
    ///   the reserve: it is offline then until it is deleted once more, or the next start.
    package func deleteTopic(_ id: TopicID) throws(StorageError) {
        try changes.withLock { _ throws(StorageError) in
            let topic = try known(id)
            // Unknown before offline: whoever is refused looks it up and sees that it is gone.
            catalog.withLock { catalog in
                catalog.byID[id] = nil
                if catalog.byName[topic.name] === topic { catalog.byName[topic.name] = nil }
            }
            topic.goOffline(.deleted)
            // What is at work on its files ends, soon and whole.
            for log in topic.partitions { log.upkeepLock.withLock { _ in } }
            for log in topic.partitions { log.flush() }
            do throws(StorageError) {
                try guardFatal { () throws(StorageError) in
                    // Deleting makes room on a full disk, and must not want for some itself.
                    try context.withReserve { () throws(StorageError) in
                        try store.delete(id, at: context.clock.wallMilliseconds())
                    }
                }
            } catch {
                putBack(topic)
                throw error
            }
            context.marks.forget(topic: id)
            for log in topic.partitions { log.closeFiles() }
        }
        context.executors.upkeep.execute { [self] in removeDeleted() }
    }

    /// A topic that could not be deleted is on disk, and back after the next start. Until then its name
    /// is taken (of two topics of one name neither could be served) and it can be deleted again.
    private func putBack(_ topic: Topic) {
        catalog.withLock { catalog in
            catalog.byID[topic.id] = topic
            if topic.hasName { catalog.byName[topic.name] = catalog.byName[topic.name] ?? topic }
        }
    }

    /// Changes settings; nil unsets one. Blocks.
    package func alterTopic(
        _ id: TopicID, changes wanted: [(key: String, value: String?)], validateOnly: Bool
    ) throws(StorageError) -> [SettingChange] {
        try changes.withLock { _ throws(StorageError) -> [SettingChange] in
            let topic = try changeable(id)
            var metadata = topic.metadata
            let before = topic.settings
            for (key, value) in wanted {
                guard TopicSettings.key(named: key) != nil else {
                    var probe = before
                    try probe.set(key, to: value ?? "")  // throws with the list of keys
                    continue
                }
                metadata.overrides[key] = value
            }
            let after = try metadata.settings(over: context.options.defaults)
            // What a topic has since before there was a limit stays as it is.
            if after.retentionMilliseconds != before.retentionMilliseconds {
                try checkRetention(after, of: metadata)
            }
            let result = wanted.map { key, _ in
                SettingChange(
                    key: key, before: before.value(of: key), after: after.value(of: key),
                    source: metadata.overrides[key] == nil ? .broker : .topic)
            }
            if validateOnly { return result }
            let changed = metadata
            try guardFatal { () throws(StorageError) in try store.update(changed) }
            topic.update(metadata, after)
            for log in topic.partitions { log.apply(after) }
            return result
        }
    }

    /// Adds partitions; keys hash over the new number from then on. Blocks.
    package func addPartitions(_ id: TopicID, total: Int32) throws(StorageError) {
        try changes.withLock { _ throws(StorageError) in
            let topic = try changeable(id)
            var metadata = topic.metadata
            guard total > metadata.partitions else {
                throw StorageError(
                    .invalidSetting,
                    "partitions: \(total) is not more than the \(metadata.partitions) there are; partitions are never taken away"
                )
            }
            try checkLimits(
                addingTopics: 0, partitions: Int(total - metadata.partitions), of: total)
            let added = metadata.partitions..<total
            metadata.partitions = total
            let changed = metadata
            // What cannot be opened is not part of the topic, now or after the next start.
            try guardFatal { () throws(StorageError) in try store.makePartitions(of: changed) }
            let logs = try open(metadata, topic.settings, added)
            try guardFatal { () throws(StorageError) in try store.update(changed) }
            topic.update(metadata, topic.settings, adding: logs)
        }
    }

    /// Keeps an operator's word that readers pass damaged offsets; it outlives a restart. Lists the
    /// ranges that are, or would be, passed. Blocks.
    package func skipDamage(
        _ id: TopicID, partition: Int32, from: Int64, to: Int64, execute: Bool
    ) throws(StorageError) -> [Range<Int64>] {
        try changes.withLock { _ throws(StorageError) -> [Range<Int64>] in
            let topic = try changeable(id)
            guard let log = topic.partition(partition) else {
                throw StorageError(
                    .offsetOutOfRange, "topic \(topic.name) has no partition \(partition)")
            }
            let ranges = log.damage(from: from, to: to)
            guard execute, !ranges.isEmpty else { return ranges }
            var metadata = topic.metadata
            let start = log.view.logStart
            metadata.skipped[partition, default: []].removeAll { $0.upperBound <= start }
            metadata.skipped[partition, default: []] += ranges
            let changed = metadata
            if !context.options.has(.forgetSkips) {
                try guardFatal { () throws(StorageError) in try store.update(changed) }
            }
            topic.update(metadata, topic.settings)
            log.skip(ranges)
            return ranges
        }
    }

    private func known(_ id: TopicID) throws(StorageError) -> Topic {
        guard let topic = topic(id: id) else {
            throw StorageError(.unknownTopic, "no topic has the id \(id)")
        }
        return topic
    }

    /// Of a topic that is offline only its id is known for sure: new metadata would be written over
    /// what a person may still mend.
    private func changeable(_ id: TopicID) throws(StorageError) -> Topic {
        let topic = try known(id)
        if let reason = topic.offlineReason {
            throw StorageError(.offline, "topic \(topic.name) is offline: \(reason.text)")
        }
        return topic
    }

    /// One topic may not have so many partitions that making them keeps everything else waiting.
    private static let partitionsPerTopicMax: Int32 = 10_000

    private func checkLimits(
        addingTopics: Int, partitions: Int, of topicTotal: Int32
    ) throws(StorageError) {
        guard topicTotal <= Self.partitionsPerTopicMax else {
            throw StorageError(
                .limitReached,
                "a topic has at most \(Self.partitionsPerTopicMax) partitions, not \(topicTotal)")
        }
        let (topics, total) = catalog.withLock { catalog in
            (
                catalog.byID.count,
                catalog.byID.values.reduce(0) { $0 + Int($1.partitionCount) }
            )
        }
        guard topics + addingTopics <= context.options.topicsMax else {
            throw StorageError(
                .limitReached, "topics.max is \(context.options.topicsMax), \(topics) are there")
        }
        guard partitions <= context.options.partitionsMax,
            total + partitions <= context.options.partitionsMax
        else {
            throw StorageError(
                .limitReached,
                "partitions.max is \(context.options.partitionsMax), \(total) are there, \(partitions) more were asked for"
            )
        }
    }

    /// The topic whose metadata cannot be read may be the one that is asked for.
    private func checkNames(_ name: String) throws(StorageError) {
        guard let other = topics().first(where: { !$0.hasName }) else { return }
        throw StorageError(
            .offline,
            "topic \"\(name)\" is not made, for it may be there: the name of topic \(other.id) cannot be read (\(other.offlineReason?.text ?? "")); restore its topic.meta from a backup, or move topics/\(other.id) out of the data directory, and restart"
        )
    }

    /// Opens a topic that was made. One that cannot be opened goes again: the client is told that it
    /// was not made, and makes another of the same name.
    private func openNew(
        _ metadata: TopicMetadata, _ settings: TopicSettings
    ) throws(StorageError) -> [PartitionLog] {
        do throws(StorageError) {
            return try open(metadata, settings, 0..<metadata.partitions)
        } catch {
            let failure = error
            guard !failure.isFatal else { throw failure }
            try guardFatal { () throws(StorageError) in try takeBack(metadata.id) }
            context.executors.upkeep.execute { [self] in removeDeleted() }
            throw failure
        }
    }

    private func takeBack(_ id: TopicID) throws(StorageError) {
        do throws(StorageError) {
            try store.delete(id, at: context.clock.wallMilliseconds())
        } catch {
            guard error.code == .diskFull else { throw error }
            try store.withdraw(id)
        }
    }

    private func open(
        _ metadata: TopicMetadata, _ settings: TopicSettings, _ partitions: Range<Int32>
    ) throws(StorageError) -> [PartitionLog] {
        var logs: [PartitionLog] = []
        for partition in partitions {
            let key = PartitionKey(topic: metadata.id, partition: partition)
            let directory = context.directory.partition(key)
            let result = try guardFatal { () throws(StorageError) in
                try LogRecovery(
                    key: key, topicName: metadata.name, directory: directory, settings: settings,
                    marks: PartitionMarks(), isClean: true, context: context
                ).run()
            }
            logs.append(
                PartitionLog(
                    key: key, directory: directory, context: context, appender: result.appender,
                    state: result.state))
        }
        return logs
    }

    /// A failed sync or rename is final also when an operator's call meets it.
    func guardFatal<R>(_ body: () throws(StorageError) -> R) throws(StorageError) -> R {
        do {
            return try body()
        } catch {
            if error.isFatal { context.fail(error) }
            throw error
        }
    }

    func removeDeleted() {
        do {
            try store.removeDeleted()
        } catch {
            context.logger.warning(
                "DELETE_INCOMPLETE", "files of a deleted topic stay for now: \(error.message)")
        }
    }
}
