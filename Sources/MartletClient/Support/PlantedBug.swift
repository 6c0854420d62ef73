import MartletSystem

/// Faults that `scripts/guarantees` plants, by the environment, to see that a proof would find them.
/// Only debug builds look.
enum PlantedBug: String {
    /// What no batch's own checksum covers is not held against the log's.
    case noPrefixCheck
    /// The checksums of batches are not looked at.
    case noChecksumCheck
    /// A member commits what was handed to the application before it is done.
    case commitTaken
    /// At most once, records are handed out before they are committed.
    case handOutUncommitted
    /// Records of one key are handled in any order.
    case mixKeys
    /// Later records of a parked key are handled.
    case passParkedKeys

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
