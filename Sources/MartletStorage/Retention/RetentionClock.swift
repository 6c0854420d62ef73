/// The clock that ages are counted by (design: two times). It follows the wall clock, but believes
/// a jump ahead only slowly: while running it advances by at most the monotonic time and 5 minutes
/// an hour; at a start it adopts a lead of up to 1 hour at once; a larger lead is believed after it
/// stood for 1 hour. It never goes back.
package struct RetentionClock: Equatable, Sendable {
    static let leadAtStart: Int64 = 3_600_000
    static let slackPerHour: Int64 = 300_000
    static let leadBelievedAfter: Int64 = 3_600_000

    /// The clock's time, ms since 1970.
    package private(set) var now: Int64
    private var lastMonotonic: Int64
    /// Monotonic ms at which a larger lead was first seen; nil when there is none.
    private var leadSince: Int64?
    /// Slack that is left; refills with monotonic time.
    private var slack: Int64

    /// - Parameters:
    ///   - saved: The time saved by the last run; nil at the very first start.
    ///   - wall: The wall clock, ms.
    ///   - monotonic: The monotonic clock, ms.
    init(saved: Int64?, wall: Int64, monotonic: Int64) {
        lastMonotonic = monotonic
        slack = Self.slackPerHour
        guard let saved else {
            now = wall
            return
        }
        if wall <= saved {
            now = saved
        } else if wall - saved <= Self.leadAtStart {
            now = wall
        } else {
            now = saved
            leadSince = monotonic
        }
    }

    /// The lead of the wall clock that is not believed yet, ms.
    package func lead(wall: Int64) -> Int64 { max(0, wall - now) }

    /// Moves on to the present.
    mutating func advance(wall: Int64, monotonic: Int64) {
        let elapsed = max(0, monotonic - lastMonotonic)
        lastMonotonic = max(lastMonotonic, monotonic)
        slack = min(
            Self.slackPerHour, slack + elapsed * Self.slackPerHour / Self.leadBelievedAfter)
        guard wall > now else {
            leadSince = nil
            return
        }
        let target = min(wall, now + elapsed + slack)
        let beyondElapsed = max(0, target - now - elapsed)
        slack -= beyondElapsed
        now = target
        guard wall > now else {
            leadSince = nil
            return
        }
        if let since = leadSince {
            if monotonic - since >= Self.leadBelievedAfter {
                now = wall
                leadSince = nil
            }
        } else {
            leadSince = monotonic
        }
    }

    /// The time that ages are counted to: the smaller of this clock and the wall clock.
    package func ageTime(wall: Int64) -> Int64 { min(now, wall) }
}
