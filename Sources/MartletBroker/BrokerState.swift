import MartletConfiguration
import MartletStorage
import MartletSystem
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
    /// loops' mailboxes): lets every loop send them, then calls `exit`. A loop that a write to the same
    /// disk holds up is not waited for. Blocks for that long, so not on a loop.
    func fail(_ error: StorageError, _ exit: @escaping @Sendable () -> Void) {
        let loops = state.withLock { state in
            state.readiness = .failed(error.message)
            return state.loops
        }
        let left = Countdown(loops.count)
        for loop in loops {
            // The first turn fills the replies and ends by sending them; the second comes after.
            loop.post(.run { loop.post(.run { left.down() }) })
        }
        for _ in 0..<Self.farewellTries where !left.isOver {
            let now = SystemClock().monotonicNanoseconds()
            PreciseWait.until(monotonicNanoseconds: now + Self.farewellPauseNanoseconds)
        }
        exit()
    }

    private static let farewellTries = 1_000
    private static let farewellPauseNanoseconds: Int64 = 2_000_000
}

/// Is over when it was told so often.
private final class Countdown: Sendable {
    private let left: Atomic<Int>

    init(_ count: Int) { left = Atomic(count) }

    var isOver: Bool { left.load(ordering: .acquiring) <= 0 }

    func down() { left.wrappingSubtract(1, ordering: .releasing) }
}

/// 1, 2, 3 and so on, from any thread.
final class Serial: Sendable {
    private let last = Atomic<UInt64>(0)

    func next() -> UInt64 {
        last.wrappingAdd(1, ordering: .relaxed).newValue
    }
}
