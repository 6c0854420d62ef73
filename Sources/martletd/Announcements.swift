import MartletBroker
import MartletConfiguration
import MartletSystem
import MartletTelemetry

/// What the daemon says about itself; each code stands in docs/OPERATIONS.md.
struct Announcements {
    let logger: Logger

    func start(_ configuration: BrokerConfiguration, file: String?) {
        logger.notice(
            "STARTING", "martletd \(Product.version)",
            [
                ("data", .string(configuration.storage.data)),
                ("format", .string(Broker.dataFormat)),
                ("configuration", .string(file ?? "defaults")),
                ("listen", .string(configuration.listener.listen.description)),
                ("admin", .string(configuration.admin.listen.description)),
                ("pid", LogValue(CurrentProcess.id)),
            ])
        // In the open, at every start, also when it is what somebody wanted.
        for open in configuration.openListeners {
            logger.warning(
                "OPEN_LISTENER",
                "allow-anonymous = true: other machines reach this listener, and nobody is asked "
                    + "who they are",
                [
                    ("listener", .string(open.name)),
                    ("address", .string(open.address.description)),
                ])
        }
    }

    func service(_ broker: Broker, milliseconds: Int64) {
        logger.notice(
            "SERVING", "ready for clients",
            [
                ("listen", .string(broker.address.description)),
                ("admin", .string(broker.adminAddress?.description ?? "none")),
                ("clean-start", .boolean(broker.isCleanStart)),
                ("recovery-events", LogValue(broker.recoveryEventCount)),
                ("milliseconds", LogValue(milliseconds)),
            ])
    }

    func reload(_ changes: [ConfigurationChange]) {
        for change in changes {
            let fields: LogFields = [
                ("key", .string(change.key.title)), ("before", .string(change.before)),
                ("after", .string(change.after)),
            ]
            if change.key.isReloadable {
                logger.notice("CONFIGURATION_CHANGED", "in force from now on", fields)
            } else {
                logger.warning("RESTART_NEEDED", "in force after a restart", fields)
            }
        }
        let taken = changes.count { $0.key.isReloadable }
        logger.notice(
            "RELOADED", "the configuration was read again", [("changes", LogValue(taken))])
    }
}
