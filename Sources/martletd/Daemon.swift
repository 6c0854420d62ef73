import MartletBroker
import MartletConfiguration
import MartletSystem
import MartletTelemetry
import Synchronization

/// One broker and the signals that steer it.
///
/// The main thread takes signals and waits for nothing else; the queue `work`, with a thread of its
/// own, starts, reloads and stops the broker, one after the other, and may wait for the disk. So a
/// signal always gets through, and the process ends in bounded time whatever the rest of it is stuck
/// in: Dispatch waits for ever when the system refuses it a thread.
final class Daemon: Sendable {
    /// Draining is bounded by the broker (8 s); what may still take longer is the disk.
    private static let stopNanosecondsMax: Int64 = 9_500_000_000

    private struct State {
        var configuration: BrokerConfiguration
        var broker: Broker?
        /// The signal that asked for the end, and the monotonic time by which it must have come.
        var stopping: (kind: SignalSource.Kind, deadline: Int64)?
    }

    private let commandLine: DaemonCommandLine
    private let logger: Logger
    private let announcements: Announcements
    private let registry = MetricsRegistry()
    private let clock = SystemClock()
    private let work = ThreadQueue(label: "martletd.work")
    private let state: Mutex<State>

    init(_ commandLine: DaemonCommandLine, _ configuration: BrokerConfiguration) {
        self.commandLine = commandLine
        state = Mutex(State(configuration: configuration))
        logger = Logger(
            label: "martletd",
            level: LogLevel(name: configuration.log.level) ?? .info,
            format: LogFormat(rawValue: configuration.log.format) ?? .text)
        announcements = Announcements(logger: logger)
    }

    /// Ends with the process.
    func run(_ signals: SignalWait) -> Never {
        work.execute { self.start() }
        while true {
            let stopping = state.withLock { $0.stopping }
            let left = stopping.map { $0.deadline - clock.monotonicNanoseconds() }
            if let stopping, let left, left <= 0 {
                logger.error(
                    "STOP_CUT_SHORT",
                    "stopping takes too long: the process ends at once, without clean mark")
                CurrentProcess.end(by: stopping.kind)
            }
            if let kind = signals.next(within: left) { receive(kind) }
        }
    }

    // MARK: - Starting

    private func start() {
        let configuration = state.withLock { $0.configuration }
        let began = clock.monotonicNanoseconds()
        announcements.start(configuration, file: commandLine.configurationFile)
        raiseDescriptors()
        ProcessMetrics.register(in: registry)
        let readyFile = commandLine.readyFile.map(ReadyFile.init)
        do throws(SystemError) {
            try readyFile?.clear()
        } catch {
            giveUp(.usage, "READY_FILE_FAILED", "cannot remove the old ready file: \(error)")
        }
        let broker = startBroker(configuration)
        state.withLock { $0.broker = broker }
        do throws(SystemError) {
            try readyFile?.write(
                listen: broker.address.description, admin: broker.adminAddress?.description)
        } catch {
            giveUp(.usage, "READY_FILE_FAILED", "cannot write the ready file: \(error)")
        }
        announcements.service(
            broker, milliseconds: (clock.monotonicNanoseconds() - began) / 1_000_000)
    }

    private func startBroker(_ configuration: BrokerConfiguration) -> Broker {
        var setup = BrokerSetup(configuration)
        setup.version = Product.version
        setup.logger = logger
        setup.registry = registry
        setup.onFatal = { [logger] error in
            logger.error(
                "STOPPED", "the storage failed for good; what was not acknowledged is unknown",
                [("reason", .string("\(error)"))])
            CurrentProcess.exitNow(DaemonExitCode.storage.rawValue)
        }
        do throws(BrokerError) {
            return try Broker.start(setup)
        } catch {
            switch error {
            case .storage: giveUp(.storage, "START_FAILED", "\(error)")
            case .listen: giveUp(.configuration, "START_FAILED", "\(error)")
            }
        }
    }

    /// As far as allowed: every connection, log and index takes one.
    private func raiseDescriptors() {
        do throws(SystemError) {
            try ProcessLimits.raiseDescriptors(to: .max)
        } catch {
            logger.warning("LIMIT_NOT_RAISED", "\(error)")
        }
    }

    private func giveUp(_ status: DaemonExitCode, _ code: LogCode, _ message: String) -> Never {
        logger.error(code, message)
        CurrentProcess.exitNow(status.rawValue)
    }

    // MARK: - Signals

    private func receive(_ kind: SignalSource.Kind) {
        switch kind {
        case .hangUp: work.execute { self.reload() }
        case .terminate, .interrupt: requestStop(kind)
        }
    }

    private func requestStop(_ kind: SignalSource.Kind) {
        let deadline = clock.monotonicNanoseconds() + Self.stopNanosecondsMax
        let (broker, isSecond) = state.withLock { state in
            let isSecond = state.stopping != nil
            if !isSecond { state.stopping = (kind, deadline) }
            return (state.broker, isSecond)
        }
        if isSecond {
            logger.warning("STOP_CUT_SHORT", "a second signal: stopping at once")
            CurrentProcess.end(by: kind)
        }
        guard let broker else {
            // Recovery may be cut off anywhere, as by a power cut: the next start does it again.
            logger.notice("STOPPED", "stopped before it served")
            CurrentProcess.exitNow(DaemonExitCode.ok.rawValue)
        }
        logger.notice(
            "STOPPING", "finishing what is open; a second signal stops at once",
            [("signal", .string(kind.name))])
        work.execute { self.stop(broker) }
    }

    private func stop(_ broker: Broker) {
        do {
            try broker.stop()
        } catch {
            giveUp(.storage, "STOPPED", "the storage could not be closed: \(error)")
        }
        logger.notice("STOPPED", "stopped in order")
        CurrentProcess.exitNow(DaemonExitCode.ok.rawValue)
    }

    // MARK: - Reload

    private func reload() {
        guard commandLine.configurationFile != nil else {
            return logger.notice(
                "NOTHING_TO_RELOAD", "martletd was started without --config")
        }
        guard let broker = state.withLock({ $0.broker }) else { return }
        let current = state.withLock { $0.configuration }
        do throws(ConfigurationFailure) {
            let wanted = try commandLine.loadConfiguration().configuration
            let next = try current.takingReloadable(from: wanted)
            broker.reload(next)
            state.withLock { $0.configuration = next }
            let level = LogLevel(name: next.log.level) ?? .info
            // Said under the more talkative of both levels: silence would leave people guessing.
            if !logger.isEnabled(level) { logger.setLevel(level) }
            announcements.reload(current.changes(to: wanted))
            logger.setLevel(level)
        } catch {
            for problem in error.problems {
                logger.error(
                    "RELOAD_FAILED", "the configuration stays as it was: \(problem)")
            }
        }
    }
}
