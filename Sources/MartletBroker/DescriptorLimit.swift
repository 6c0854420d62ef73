import MartletSystem

/// How many descriptors the process may have, for sizing.
enum DescriptorLimit {
    /// What POSIX promises at least, if the system does not tell.
    private static let fallback = 1_024

    static var current: Int {
        do throws(SystemError) {
            return try ProcessLimits.current().descriptors
        } catch {
            return fallback
        }
    }
}
