import MartletSystem

/// Something with a deadline that can be put on a `DelayedRequests` wheel.
///
/// The wheel keeps the two places in here, so that taking an entry off costs no search.
protocol WheelEntry: AnyObject {
    var wheelPlace: WheelPlace { get set }
}

/// A request that waits for something other than the disk, at most until its deadline. Confined to
/// the loop of its connection.
protocol ParkedRequest: WheelEntry, Sendable {
    /// Its time is over.
    func expire()
    /// Its connection is gone.
    func abandon()
}

/// Where an entry lies on a wheel.
struct WheelPlace {
    var deadlineTick: Int64 = 0
    var slot = -1
    var index = -1

    var isOnWheel: Bool { slot >= 0 }
}

/// The deadlines of the requests that one loop has parked, on one timer wheel: adding, removing and
/// expiring are O(1) each, and one timer of the queue serves all of them. An empty wheel has none.
// Sendable: confined to the loop's queue; the closure that the timer runs comes back to it.
final class DelayedRequests: @unchecked Sendable {
    /// One tick; deadlines are rounded up to it, so none is ever early.
    private static let tickNanoseconds: Int64 = 2_000_000
    private static let slotCount = 512

    /// Gets the requests whose time ran out. On the loop's queue.
    var onExpired: (@Sendable ([any ParkedRequest]) -> Void)?
    private(set) var count = 0

    private let clock: any Clock
    private let executor: any Executor
    private var slots = [[any ParkedRequest]](repeating: [], count: slotCount)
    /// Every slot up to this tick has been looked at.
    private var currentTick: Int64
    /// The tick the earliest timer under way is set for; `.max` without one.
    private var armedTick = Int64.max

    init(clock: any Clock, executor: any Executor) {
        self.clock = clock
        self.executor = executor
        currentTick = clock.monotonicNanoseconds() / Self.tickNanoseconds
    }

    /// Parks `request` until `deadline` on the monotonic clock.
    func add(_ request: any ParkedRequest, deadline: Int64) {
        let tick = max(
            (deadline + Self.tickNanoseconds - 1) / Self.tickNanoseconds, currentTick + 1)
        let slot = Int(tick % Int64(Self.slotCount))
        request.wheelPlace = WheelPlace(deadlineTick: tick, slot: slot, index: slots[slot].count)
        slots[slot].append(request)
        count += 1
        arm(tick)
    }

    /// Takes `request` off; nothing happens when it is not there.
    func remove(_ request: any ParkedRequest) {
        let place = request.wheelPlace
        guard place.isOnWheel else { return }
        // The last of the slot takes the free place.
        let last = slots[place.slot].removeLast()
        if last !== request {
            slots[place.slot][place.index] = last
            last.wheelPlace.index = place.index
        }
        request.wheelPlace = WheelPlace()
        count -= 1
    }

    /// Answers all of them now; for a broker that stops.
    func expireAll() {
        let all = slots.flatMap { $0 }
        for request in all { remove(request) }
        if !all.isEmpty { onExpired?(all) }
    }

    private func arm(_ tick: Int64) {
        guard tick < armedTick else { return }
        armedTick = tick
        let delay = tick * Self.tickNanoseconds - clock.monotonicNanoseconds()
        executor.execute(after: max(delay, 0)) { [weak self] in self?.fire(tick) }
    }

    private func fire(_ tick: Int64) {
        // A later timer whose work an earlier one has already done.
        guard armedTick == tick else { return }
        armedTick = .max
        let now = clock.monotonicNanoseconds() / Self.tickNanoseconds
        let expired = takeExpired(upTo: now)
        if let next = nextTick() { arm(next) }
        if !expired.isEmpty { onExpired?(expired) }
    }

    private func takeExpired(upTo now: Int64) -> [any ParkedRequest] {
        guard now > currentTick else { return [] }
        var expired: [any ParkedRequest] = []
        let steps = min(now - currentTick, Int64(Self.slotCount))
        for step in 1...steps {
            let slot = Int((currentTick + step) % Int64(Self.slotCount))
            // Entries of a later round stay.
            expired += slots[slot].filter { $0.wheelPlace.deadlineTick <= now }
        }
        currentTick = now
        for request in expired { remove(request) }
        return expired
    }

    /// The next tick at which anything might be due: the first occupied slot after now.
    private func nextTick() -> Int64? {
        guard count > 0 else { return nil }
        for step in 1...Int64(Self.slotCount) {
            let tick = currentTick + step
            if !slots[Int(tick % Int64(Self.slotCount))].isEmpty { return tick }
        }
        return nil
    }
}
