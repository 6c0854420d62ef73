import MartletConfiguration
import MartletStorage
import Synchronization

/// What phase a broker is in, for probes, and the way out when the disk failed.
final class BrokerState: Sendable {
    private struct State {
        var readiness = Readiness.starting
        var loops: [IOLoop] = []
        var engine: StorageEngine?
    }

    private let state = Mutex(State())

    /// What `/readyz` says now.
    var readiness: Readiness {
        let (readiness, engine) = state.withLock { ($0.readiness, $0.engine) }
        guard readiness == .ready, let engine else { return readiness }
        if !engine.isWritable { return .degraded("read-only: \(engine.space.reason)") }
        let topics = engine.topics()
        let offline = topics.count { !$0.isOnline }
        if offline > 0 {
            return .degraded("\(Counted.text(offline, "topic", "is", "are")) offline")
        }
        let logs = topics.flatMap(\.partitions)
        let closed = logs.count { $0.offlineReason != nil }
        if closed > 0 {
            return .degraded("\(Counted.text(closed, "partition", "is", "are")) offline")
        }
        let damaged = logs.count { $0.hasOpenDamage }
        guard damaged > 0 else { return .ready }
        return .degraded("\(Counted.text(damaged, "partition", "is", "are")) damaged")
    }

    func attach(engine: StorageEngine) {
        state.withLock { $0.engine = engine }
    }

    func attach(loops: [IOLoop]) {
        state.withLock { $0.loops = loops }
    }

    /// The broker has stopped. Its engine holds this object by its way out, so it must not be held:
    /// neither would ever go, nor their threads.
    func detach() {
        state.withLock { state in
            state.engine = nil
            state.loops = []
        }
    }

    func move(to readiness: Readiness) {
        state.withLock { state in
            if case .failed = state.readiness { return }
            state.readiness = readiness
        }
    }

    /// The disk failed. The producers that waited have been told already (their answers lie in the
    /// loops' mailboxes): lets every loop send them, then calls `exit`.
    func fail(_ error: StorageError, _ exit: @escaping @Sendable () -> Void) {
        let loops = state.withLock { state in
            state.readiness = .failed(error.message)
            return state.loops
        }
        guard !loops.isEmpty else { return exit() }
        let left = Countdown(loops.count, exit)
        for loop in loops {
            // The first turn fills the replies and ends by sending them; the second comes after.
            loop.post(.run { loop.post(.run { left.down() }) })
        }
    }
}

/// Runs a closure when it was told so often.
private final class Countdown: Sendable {
    private let left: Atomic<Int>
    private let body: @Sendable () -> Void

    init(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        left = Atomic(count)
        self.body = body
    }

    func down() {
        let now = left.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if now == 0 { body() }
    }
}

/// 1, 2, 3 and so on, from any thread.
final class Serial: Sendable {
    private let last = Atomic<UInt64>(0)

    func next() -> UInt64 {
        last.wrappingAdd(1, ordering: .relaxed).newValue
    }
}
