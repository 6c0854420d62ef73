import MartletFormat
import MartletWire

extension AdminClient {
    /// The ends of partitions, or their offsets at a time.
    ///
    /// - Parameters:
    ///   - name: of the topic.
    ///   - query: which offset.
    ///   - partitions: which partitions; nil for all.
    /// - Returns: one offset per partition, in the order asked for.
    /// - Throws: `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `STORAGE_ERROR`.
    public func listOffsets(
        _ name: String, at query: OffsetQuery, partitions: [Int32]? = nil
    ) async throws -> [PartitionOffset] {
        let topic = try await metadata(name)
        let wanted = partitions ?? Array(0..<topic.partitions)
        return try await offsets(wanted.map { (topic.id, TopicPartition(name, $0), query) })
    }

    /// The same for partitions of many topics.
    ///
    /// - Parameter isPatient: whether they are asked for again while the broker cannot say one.
    func offsets(
        _ wanted: [(id: TopicID, partition: TopicPartition, query: OffsetQuery)],
        isPatient: Bool = true
    ) async throws -> [PartitionOffset] {
        var result: [PartitionOffset] = []
        var rest = wanted[...]
        while !rest.isEmpty {
            let part = rest.prefix(WireLimits.partitionsPerRequestMax)
            rest = rest.dropFirst(part.count)
            var request = ListOffsetsRequest()
            request.entries = part.map { ListOffsetsEntry($0.id, $0.partition.partition, $0.query) }
            let names = part.map(\.partition)
            let reply = try await port.call(request, isRepeatable: true) { _, reply, _ in
                let soon = zip(names, reply.results).first { $0.1.error.isRetriable }
                guard isPatient, let (name, result) = soon else { return reply }
                throw MartletError(result.error, result.message, context: name.context)
            }
            guard reply.results.count == part.count else {
                throw MartletError.protocolError("The offsets reply has another length.")
            }
            for (asked, found) in zip(part, reply.results) {
                guard found.error == .none else {
                    throw MartletError(
                        found.error, found.message, context: asked.partition.context)
                }
                result.append(
                    PartitionOffset(
                        partition: asked.partition.partition, offset: found.offset,
                        time: found.time < 0 ? nil : found.time, leaderEpoch: found.leaderEpoch))
            }
        }
        return result
    }

    /// The high watermarks of all partitions of topics, in few requests. What cannot be read now,
    /// such as a topic that was just deleted, is left out.
    package func highWatermarks(_ topics: [TopicListing]) async throws -> [TopicPartition: Int64] {
        let wanted = topics.flatMap { topic in
            let id = TopicID(topic.id) ?? .zero
            return (0..<Int32(clamping: topic.partitions)).map { number in
                (TopicPartition(topic.name, number), ListOffsetsEntry(id, number, .latest))
            }
        }
        var result: [TopicPartition: Int64] = [:]
        var rest = wanted[...]
        while !rest.isEmpty {
            let part = rest.prefix(WireLimits.partitionsPerRequestMax)
            rest = rest.dropFirst(part.count)
            var request = ListOffsetsRequest()
            request.entries = part.map(\.1)
            let reply = try await port.call(request, isRepeatable: true)
            guard reply.results.count == part.count else {
                throw MartletError.protocolError("The offsets reply has another length.")
            }
            for (asked, found) in zip(part, reply.results) where found.error == .none {
                result[asked.0] = found.offset
            }
        }
        return result
    }

    /// Deletes old records: raises the log start of partitions.
    ///
    /// - Parameters:
    ///   - name: of the topic.
    ///   - before: by partition: records below this offset go; -1 for all that readers see.
    /// - Returns: by partition: the first offset that can be read now.
    /// - Throws: `UNKNOWN_TOPIC`; `UNKNOWN_PARTITION` or `OFFSET_OUT_OF_RANGE` of the first partition
    ///   that was refused (`error.context` names it): the others have lost their records all the same.
    @discardableResult
    public func deleteRecords(
        _ name: String, before: [Int32: Int64]
    ) async throws -> [Int32: Int64] {
        let results = try await deleteRecordsOfEach(name, before: before)
        var starts: [Int32: Int64] = [:]
        for (partition, result) in results.sorted(by: { $0.key < $1.key }) {
            starts[partition] = try result.get()
        }
        return starts
    }

    /// As `deleteRecords`, with what became of each partition.
    package func deleteRecordsOfEach(
        _ name: String, before: [Int32: Int64]
    ) async throws -> [Int32: Result<Int64, MartletError>] {
        let id = try await metadata(name).id
        var results: [Int32: Result<Int64, MartletError>] = [:]
        var rest = before.sorted { $0.key < $1.key }[...]
        while !rest.isEmpty {
            let part = rest.prefix(WireLimits.partitionsPerRequestMax)
            rest = rest.dropFirst(part.count)
            var request = DeleteRecordsRequest()
            request.entries = part.map {
                var entry = DeleteRecordsEntry()
                entry.topic = id
                entry.partition = $0.key
                entry.before = $0.value
                return entry
            }
            let reply = try await port.call(request, isRepeatable: false, facts: ["topic": name])
            guard reply.results.count == part.count else {
                throw MartletError.protocolError("The delete-records reply has another length.")
            }
            for (asked, found) in zip(part, reply.results) {
                let facts = TopicPartition(name, asked.key).context
                results[asked.key] =
                    found.error == .none
                    ? .success(found.logStart)
                    : .failure(MartletError(found.error, found.message, context: facts))
            }
        }
        return results
    }

    /// Lets readers pass damaged offsets: a person's decision that their records are lost.
    ///
    /// - Parameters:
    ///   - name: of the topic.
    ///   - partition: its number.
    ///   - from: the first offset.
    ///   - to: the offset behind the last one.
    ///   - execute: false only tells what would be skipped.
    /// - Returns: the damaged ranges that are, or would be, skipped.
    /// - Throws: `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `INVALID_REQUEST`.
    public func skipDamage(
        _ name: String, partition: Int32, from: Int64, to: Int64, execute: Bool
    ) async throws -> [Range<Int64>] {
        var request = SkipDamageRequest()
        request.topic = try await metadata(name).id
        request.partition = partition
        request.from = from
        request.to = to
        request.execute = execute
        let reply = try await port.call(
            request, isRepeatable: false, facts: TopicPartition(name, partition).context)
        return reply.skipped.compactMap(\.range)
    }
}

extension ListOffsetsEntry {
    init(_ id: TopicID, _ partition: Int32, _ query: OffsetQuery) {
        self.init()
        topic = id
        self.partition = partition
        switch query {
        case .earliest:
            kind = OffsetKind.earliest.rawValue
        case .latest:
            kind = OffsetKind.latest.rawValue
        case .time(let time):
            kind = OffsetKind.time.rawValue
            self.time = time
        }
    }
}

extension OffsetRange {
    /// nil when the ends are the wrong way round.
    var range: Range<Int64>? { from <= to ? from..<to : nil }
}
