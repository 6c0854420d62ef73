import MartletSystem
import Synchronization

/// A clock that a test moves: give it to `MartletTestBroker`, and ages, retention and deadlines of
/// the broker follow it instead of the machine's time.
///
/// Between the moves it stands still. Nothing is woken by a move: the broker looks at the time when
/// it does its next piece of work.
public final class ManualClock: Sendable {
    private struct State {
        var monotonic: Int64 = 1_000_000_000
        var wall: Int64
    }

    private struct Adapter: Clock {
        let owner: ManualClock

        func monotonicNanoseconds() -> Int64 { owner.state.withLock { $0.monotonic } }
        func wallMilliseconds() -> Int64 { owner.wallMilliseconds }
    }

    private let state: Mutex<State>

    /// - Parameter wallMilliseconds: milliseconds since 1970 at which the clock starts.
    public init(wallMilliseconds: Int64 = 1_700_000_000_000) {
        state = Mutex(State(wall: wallMilliseconds * 1_000_000))
    }

    /// Milliseconds since 1970.
    public var wallMilliseconds: Int64 { state.withLock { $0.wall / 1_000_000 } }

    /// Moves the clock forward.
    ///
    /// - Parameter time: by how much; not negative.
    public func advance(by time: Duration) {
        let (seconds, attoseconds) = time.components
        let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
        precondition(nanoseconds >= 0, "time does not go back")
        state.withLock { state in
            state.monotonic += nanoseconds
            state.wall += nanoseconds
        }
    }

    /// Sets the wall clock alone, also back, as an administrator may do.
    ///
    /// - Parameter wallMilliseconds: milliseconds since 1970.
    public func setWall(_ wallMilliseconds: Int64) {
        state.withLock { $0.wall = wallMilliseconds * 1_000_000 }
    }

    /// What the broker is given.
    var clock: any Clock { Adapter(owner: self) }
}
