import MartletFormat
import MartletSystem

// What a backup copies, in which order, and what must not go meanwhile.
extension Backup {
    /// What there was before the marks were read.
    struct Topics {
        /// The broker's own first: what their newest snapshots replace goes at once.
        var inOrder: [TopicID] = []
        /// The segments of each partition.
        var segments: [PartitionKey: Generations] = [:]
        /// Partitions of the broker's own topics.
        var own: Set<PartitionKey> = []

        /// Where the oldest segment of a partition began; nil for one whose records may go meanwhile.
        func floor(_ key: PartitionKey) -> Int64? {
            own.contains(key) ? segments[key]?.keys.min() : nil
        }
    }

    /// How often the segment at each base was compacted.
    typealias Generations = [Int64: UInt32]

    func listTopics() throws(StorageError) -> Topics {
        let names = try storage("listing \(source.topics)") { () throws(SystemError) in
            try fileSystem.list(source.topics)
        }
        var topics = Topics()
        var others: [TopicID] = []
        for name in names {
            guard let id = TopicID(name) else { continue }
            let metadata = try metadata(of: id).metadata
            for partition in 0..<metadata.partitions {
                let key = PartitionKey(topic: id, partition: partition)
                topics.segments[key] = try segments(in: source.partition(key))
                if metadata.isInternal { topics.own.insert(key) }
            }
            if metadata.isInternal { topics.inOrder.append(id) } else { others.append(id) }
        }
        topics.inOrder += others
        return topics
    }

    func metadata(
        of id: TopicID
    ) throws(StorageError) -> (bytes: [UInt8], metadata: TopicMetadata) {
        let path = "\(source.topic(id))/topic.meta"
        let bytes = try storage("reading \(path)") { () throws(SystemError) in
            try fileSystem.contents(of: path, atMost: 64 << 20)
        }
        return (bytes, try TopicMetadataText.decode(bytes))
    }

    /// The copy of a partition holds what its mark is about, and from `floor` on all below.
    /// - Throws: `removed` when a part of it went while others were copied.
    func requireWhole(
        _ key: PartitionKey, _ copied: Generations, _ end: MarkEntry, _ floor: Int64?
    ) throws(StorageError) {
        // A mark at the start of a segment is about the ones before it.
        let hasEnd = end.position == 0 || copied[end.segmentBase] != nil
        let begins = copied.keys.min() ?? end.segmentBase
        guard hasEnd, begins <= floor ?? begins else {
            throw StorageError(
                .removed,
                "\(source.partition(key)): the broker removed what belongs to the backup before it was copied; the backup took too long: take it again"
            )
        }
    }

    func segments(in directory: String) throws(StorageError) -> Generations {
        let names = try storage("listing \(directory)") { () throws(SystemError) in
            try fileSystem.list(directory)
        }
        var result: Generations = [:]
        for name in names {
            guard case .log(let base, let generation)? = LogFileNames.parse(name) else { continue }
            result[base] = max(result[base] ?? 0, generation)
        }
        return result
    }
}

extension Backup.Generations {
    /// Whether one of these was compacted after `earlier` was listed.
    func areCompacted(since earlier: Self) -> Bool {
        contains { base, generation in generation != earlier[base] ?? 0 }
    }
}
