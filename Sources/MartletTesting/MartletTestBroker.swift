import MartletBroker
public import MartletClient
import MartletConfiguration
import MartletSystem
import MartletTelemetry
import Synchronization

/// A real broker inside the test's process, on a folder of its own and a free port.
///
///     try await MartletTestBroker.run(topics: ["orders": 4]) { broker in
///         try await Martlet.withClient(broker.configuration) { client in ... }
///     }
///
/// It starts in milliseconds, keeps its records over `restart`, and takes its folder away when it
/// ends. Faults are asked for by name: `dropAcks`, `failFsync`.
public final class MartletTestBroker: Sendable {
    private struct State {
        var broker: Broker?
        var address = ""
    }

    private let folder: String
    private let clock: ManualClock?
    private let fileSystem = FaultyFileSystem()
    private let faults = ClientFaults()
    private let queue = SerialQueue(label: "martlet.test-broker")
    private let state = Mutex(State())

    /// Starts a broker.
    ///
    /// - Parameters:
    ///   - topics: topics to make, with their number of partitions.
    ///   - clock: the broker's clock; nil takes the machine's.
    /// - Throws: `MartletTestError` when the broker cannot start, `MartletError` when a topic cannot
    ///   be made.
    public init(topics: [String: Int] = [:], clock: ManualClock? = nil) async throws {
        self.clock = clock
        let base = CurrentProcess.environment["TMPDIR"] ?? "/tmp"
        folder = "\(base)/martlet-broker-\(String(try SecureRandom.uint64(), radix: 36))"
        try PosixFileSystem().makeDirectory(folder)
        try await start()
        if topics.isEmpty { return }
        try await Martlet.withClient(configuration) { client in
            for (name, partitions) in topics.sorted(by: { $0.key < $1.key }) {
                try await client.admin.createTopic(name, partitions: partitions)
            }
        }
    }

    deinit {
        // For a broker that nobody stopped, too.
        let (broker, folder) = (state.withLock { $0.broker }, folder)
        queue.execute {
            Self.end(broker)
            Self.remove(folder)
        }
    }

    /// Runs `body` with a broker, then stops it.
    ///
    /// - Parameters:
    ///   - topics: topics to make, with their number of partitions.
    ///   - clock: the broker's clock; nil takes the machine's.
    ///   - body: what to do with it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws, and what making a broker throws.
    public static func run<R>(
        topics: [String: Int] = [:], clock: ManualClock? = nil,
        _ body: (MartletTestBroker) async throws -> R
    ) async throws -> R {
        let broker = try await MartletTestBroker(topics: topics, clock: clock)
        do {
            let result = try await body(broker)
            await broker.stop()
            return result
        } catch {
            await broker.stop()
            throw error
        }
    }

    /// Where it listens, as `host:port`; the same after a restart.
    public var server: String { state.withLock { $0.address } }

    /// For clients of this broker: short pauses, and the faults that the test asks for.
    public var configuration: ClientConfiguration {
        var configuration = ClientConfiguration(
            server: server, clientName: "test",
            retry: RetryPolicy(base: .milliseconds(2), cap: .milliseconds(50)))
        configuration.faults = faults
        return configuration
    }

    // MARK: - Life

    /// Stops the broker as SIGTERM would; its records stay until the object goes.
    public func stop() async {
        await onQueue { [self] in
            let broker = state.withLock { state in
                let broker = state.broker
                state.broker = nil
                return broker
            }
            Self.end(broker)
            fileSystem.releaseLocks()
        }
    }

    /// Starts the broker again, on the same records and the same port. Does nothing while it runs.
    ///
    /// - Throws: `MartletTestError` when it cannot start.
    public func start() async throws {
        let failure: String? = await onQueue { [self] in
            if state.withLock({ $0.broker != nil }) { return nil }
            do throws(BrokerError) {
                let broker = try Broker.start(setup())
                state.withLock { state in
                    state.broker = broker
                    state.address = broker.address.description
                }
                return nil
            } catch {
                return error.description
            }
        }
        if let failure {
            throw MartletTestError(message: "The test broker cannot start: \(failure)")
        }
    }

    /// Stops the broker and starts it again.
    ///
    /// - Throws: `MartletTestError` when it cannot start.
    public func restart() async throws {
        await stop()
        try await start()
    }

    // MARK: - Faults

    /// The answers to the next produce requests are lost on the way, and the connections with them.
    /// The records are written: an idempotent producer has to find that out.
    ///
    /// - Parameter count: how many answers.
    public func dropAcks(_ count: Int = 1) {
        faults.dropAcks(count)
    }

    /// The next sync of a file fails as if the disk had lost data. The broker then takes no records
    /// any more: a real one would end; this one waits for `restart`.
    public func failFsync() {
        fileSystem.failSyncs(1)
    }

    // MARK: - Helpers

    private func setup() -> BrokerSetup {
        var configuration = BrokerConfiguration()
        let address = state.withLock { $0.address }
        let port = address.split(separator: ":").last.flatMap { UInt16($0) } ?? 0
        configuration.listener.listen = HostPort(host: "127.0.0.1", port: port)
        configuration.listener.connectionRateMax = 100_000
        configuration.listener.connectionRatePerAddressMax = 100_000
        configuration.listener.connectionsPerAddressMax = configuration.listener.connectionsMax
        configuration.storage.data = folder
        configuration.storage.diskFreeLowBytes = 0
        configuration.storage.diskFreeHighBytes = 0
        configuration.storage.diskReserveBytes = 0
        var setup = BrokerSetup(configuration)
        setup.servesAdmin = false
        setup.fileSystem = fileSystem
        if let clock { setup.takeJumpingClock(clock.clock) }
        return setup
    }

    /// Runs blocking work off the test's threads.
    private func onQueue<R: Sendable>(_ body: @escaping @Sendable () -> R) async -> R {
        await withCheckedContinuation { continuation in
            queue.execute { continuation.resume(returning: body()) }
        }
    }

    private static func end(_ broker: Broker?) {
        do {
            try broker?.stop()
        } catch {
            // After `failFsync` the storage cannot be closed in order: that is its point.
        }
    }

    private static func remove(_ path: String) {
        let files = PosixFileSystem()
        do {
            guard try files.status(path)?.kind == .directory else {
                try files.removeFile(path)
                return
            }
            for name in try files.list(path) { remove("\(path)/\(name)") }
            try files.removeDirectory(path)
        } catch {
            // What is left over harms nobody but the disk.
        }
    }
}

/// A test broker that cannot do what it was asked for.
public struct MartletTestError: Error, CustomStringConvertible {
    /// One sentence for people.
    public let message: String

    /// The message.
    public var description: String { message }
}
