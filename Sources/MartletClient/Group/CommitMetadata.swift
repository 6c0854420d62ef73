import MartletWire

/// What an application says with a commit.
enum CommitMetadata {
    static func check(_ metadata: String) throws(MartletError) {
        let bytes = metadata.utf8.count
        guard bytes <= WireLimits.commitMetadataBytesMax else {
            throw .invalid(
                "metadata",
                "has \(bytes) bytes, more than \(WireLimits.commitMetadataBytesMax)")
        }
    }
}
