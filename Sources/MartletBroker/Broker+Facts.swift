import MartletStorage

/// For the lines at the start.
extension Broker {
    /// Name and version of the data directory's format.
    package static var dataFormat: String { DataDirectory.format }

    /// Whether the last broker on this data directory stopped in order.
    package var isCleanStart: Bool { startReport.isClean }

    /// What recovery found or did; each was logged.
    package var recoveryEventCount: Int { startReport.events.count }
}
