import MartletConfiguration
import MartletSystem

/// How the descriptors of the process are shared between files and connections.
struct DescriptorBudget: Sendable {
    /// What POSIX promises at least, if the system does not tell.
    private static let fallback = 1_024
    /// For what is neither: listeners, polls, the lock, standard streams, files on their way.
    private static let others = 128

    /// What the process may have.
    let total: Int
    /// Files of the storage that may be open at once, for as long as the broker runs.
    let files: Int

    /// Connections come first; a quarter of what is left of the descriptors stays free.
    init(_ configuration: BrokerConfiguration, total: Int = Self.limit) {
        self.total = total
        let spare = total - configuration.listener.connectionsMax - 256
        files =
            configuration.storage.openFilesMax > 0
            ? configuration.storage.openFilesMax
            : max(spare * 3 / 4, min(256, max(total / 4, 32)))
    }

    /// Connections that have a descriptor for certain.
    var connectionsMax: Int { max(total - files - Self.others, 16) }

    static var limit: Int {
        do throws(SystemError) {
            return try ProcessLimits.current().descriptors
        } catch {
            return fallback
        }
    }
}
