import MartletFormat
import MartletSystem

// What a backup copies, in which order, and what must not go meanwhile.
extension Backup {
    /// What there was before the marks were read.
    struct Topics {
        /// The broker's own first: what their newest snapshots replace goes at once.
        var inOrder: [TopicID] = []
        /// Where the oldest segment of each partition of the broker's own topics begins.
        var lowest: [PartitionKey: Int64] = [:]
    }

    func listTopics() throws(StorageError) -> Topics {
        let names = try storage("listing \(source.topics)") { () throws(SystemError) in
            try fileSystem.list(source.topics)
        }
        var topics = Topics()
        var others: [TopicID] = []
        for name in names {
            guard let id = TopicID(name) else { continue }
            let metadata = try metadata(of: id).metadata
            guard metadata.isInternal else {
                others.append(id)
                continue
            }
            topics.inOrder.append(id)
            for partition in 0..<metadata.partitions {
                let key = PartitionKey(topic: id, partition: partition)
                topics.lowest[key] = try logBases(source.partition(key)).min()
            }
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
        _ key: PartitionKey, _ end: MarkEntry, _ floor: Int64?
    ) throws(StorageError) {
        let bases = try logBases(target.partition(key))
        // A mark at the start of a segment is about the ones before it.
        let hasEnd = end.position == 0 || bases.contains(end.segmentBase)
        let begins = bases.min() ?? end.segmentBase
        guard hasEnd, begins <= floor ?? begins else {
            throw StorageError(
                .removed,
                "\(source.partition(key)): the broker removed what belongs to the backup before it was copied; the backup took too long: take it again"
            )
        }
    }

    private func logBases(_ directory: String) throws(StorageError) -> [Int64] {
        let names = try storage("listing \(directory)") { () throws(SystemError) in
            try fileSystem.list(directory)
        }
        return names.compactMap { name in
            guard case .log(let base, _)? = LogFileNames.parse(name) else { return nil }
            return base
        }
    }
}
