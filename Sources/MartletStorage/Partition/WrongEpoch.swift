import MartletFormat

/// Finds the batch whose leader epoch is not what was written. Nothing but the chain of prefixes
/// covers it, and of the 17 bytes it alone is in no rule that tells where it is wrong.
enum WrongEpoch {
    struct Candidate {
        /// Batches before it in the chain.
        let batch: Int
        let epoch: Int32
        /// What its neighbours leave room for.
        let lowest: Int32
        let highest: Int32
    }

    /// Where the epoch stands in a prefix.
    private static let position = 12

    /// The chain over so many batches ends `difference` away from what it must be. At each place one
    /// other epoch explains that, any of 2^32: the wrong one is where it fits between its neighbours.
    /// nil when that is nowhere, or at two places.
    /// - Parameter candidates: In order.
    static func find(
        _ candidates: [Candidate], of batches: Int, _ difference: UInt32
    ) -> Int? {
        var found: Int?
        var change = difference
        var passed = 0
        for candidate in candidates.reversed() {
            let behind = (batches - candidate.batch) * RecordBatch.prefixBytes - position
            change = CRC32C.difference(change, before: behind - passed)
            passed = behind
            // The chain takes the bytes in lowest first, the field has its highest byte first.
            let right = candidate.epoch ^ Int32(bitPattern: change.byteSwapped)
            guard right >= candidate.lowest, right <= candidate.highest else { continue }
            guard found == nil else { return nil }
            found = candidate.batch
        }
        return found
    }
}
