import MartletFormat
import Synchronization

/// Bounds the bytes that are written but not on disk over all partitions of a durability, so that
/// `pwrite` never meets the kernel's own throttling. An append over the bound waits.
final class UnsyncedBudget: Sendable {
    private struct State {
        var bytes: Int64 = 0
        var waiting: [(log: PartitionLog, retry: any AppendRetry)] = []
    }

    let limit: Int64
    private let state = Mutex(State())

    init(limit: Int64) { self.limit = limit }

    /// Takes `count` bytes; when the bound is reached, nothing is taken and `retry` is told later.
    func take(_ count: Int64, for log: PartitionLog, retry: any AppendRetry) -> Bool {
        state.withLock { state in
            if state.bytes >= limit {
                state.waiting.append((log, retry))
                return false
            }
            state.bytes += count
            return true
        }
    }

    /// Takes over bytes that are written already, also above the bound.
    func add(_ count: Int64) {
        state.withLock { $0.bytes += count }
    }

    func give(_ count: Int64) {
        guard count > 0 else { return }
        let woken = state.withLock { state -> [(log: PartitionLog, retry: any AppendRetry)] in
            state.bytes -= count
            guard state.bytes < limit, !state.waiting.isEmpty else { return [] }
            defer { state.waiting = [] }
            return state.waiting
        }
        for entry in woken { entry.retry.retryAppend(entry.log) }
    }

    var bytes: Int64 { state.withLock { $0.bytes } }
}
