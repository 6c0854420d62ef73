import CMartletShim
import Glibc

/// Takes signals on a thread that waits for them. Nothing else has to work for that: no other thread,
/// no memory, no descriptor.
package struct SignalWait: Sendable {
    private let kinds: [SignalSource.Kind]

    /// Keeps the signals from the calling thread and from all that it starts from now on, so call it
    /// before there are others. They wait until `next` takes them.
    package init(_ kinds: [SignalSource.Kind]) {
        self.kinds = kinds
        var signals = Self.set(kinds)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Waits for one of the signals, at most so long; for ever when that is nil. Returns nil when
    /// none came.
    package func next(within nanoseconds: Int64?) -> SignalSource.Kind? {
        var signals = Self.set(kinds)
        guard let nanoseconds else {
            var number: CInt = 0
            guard unsafe sigwait(&signals, &number) == 0 else { return nil }
            return kinds.first { $0.number == number }
        }
        let left = max(0, nanoseconds)
        var time = timespec(
            tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
        // -1: the time is over, or something else interrupted the wait.
        let number = unsafe sigtimedwait(&signals, nil, &time)
        return kinds.first { $0.number == number }
    }

    private static func set(_ kinds: [SignalSource.Kind]) -> sigset_t {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for kind in kinds { unsafe sigaddset(&signals, kind.number) }
        return signals
    }
}
