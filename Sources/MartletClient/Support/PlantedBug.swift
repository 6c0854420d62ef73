import MartletSystem

/// Faults that `scripts/guarantees` plants, by the environment, to see that a proof would find them.
/// Only debug builds look.
enum PlantedBug: String {
    /// What no batch's own checksum covers is not held against the log's.
    case noPrefixCheck
    /// The checksums of batches are not looked at.
    case noChecksumCheck

    #if DEBUG
        private static let asked = CurrentProcess.environment["MARTLET_PLANT"]
    #endif

    var isOn: Bool {
        #if DEBUG
            Self.asked == rawValue
        #else
            false
        #endif
    }
}
