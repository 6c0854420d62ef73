import MartletFormat
package import MartletSystem

/// The broker's own topic in which the offset of a record is the id of the producer that it registers.
package let producersTopicName = "$producers"

extension Backup {
    /// A data directory made from a backup, which stays as it is.
    ///
    /// Producers that got their ids after the backup may still be at work. Two with one id would take each
    /// other's records for repeated ones, so ids go on above any that was given before this moment: they
    /// begin at 256 for each millisecond since 1970, and no broker registers so many.
    ///
    /// - Parameters:
    ///   - target: A folder that does not exist, or is empty.
    ///   - wallMilliseconds: Now, since 1970.
    /// - Throws: as `run`.
    package static func restore(
        _ backup: String, to target: String, _ fileSystem: any FileSystem, wallMilliseconds: Int64
    ) throws(StorageError) -> Report {
        var restore = Backup(from: backup, to: target, fileSystem, links: false)
        let (ids, isTooLate) = wallMilliseconds.multipliedReportingOverflow(by: 256)
        if !isTooLate { restore.producerIDs = min(ids, LogLimits.offsetMax / 2) }
        return try restore.run()
    }

    /// The metadata of a topic in the copy.
    func metadataOfCopy(
        _ id: TopicID, _ table: MarkTable
    ) throws(StorageError) -> (bytes: [UInt8], metadata: TopicMetadata) {
        var (bytes, metadata) = try metadata(of: id)
        guard let producerIDs, metadata.name == producersTopicName else { return (bytes, metadata) }
        let end = table.partitions[PartitionKey(topic: id, partition: 0)]?.end?.offset ?? 0
        guard end < producerIDs else { return (bytes, metadata) }
        // What is restored from may be such a copy itself, which no broker ever started on.
        metadata.gaps[0] = (metadata.gaps[0, default: []] + [end..<producerIDs])
            .sorted { $0.lowerBound < $1.lowerBound }.joined()
        return (TopicMetadataText.encode(metadata), metadata)
    }
}
