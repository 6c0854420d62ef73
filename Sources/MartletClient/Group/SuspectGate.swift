import Synchronization

/// Handlers that run with suspect records: some beside each other, or one alone. So when a record
/// that was begun before ends the process, no other is taken for the reason.
final class SuspectGate: Sendable {
    /// Somebody's place among them.
    struct Place: Equatable, Sendable {
        fileprivate let number: Int
    }

    private struct Guest {
        let number: Int
        let delivery: Delivery
        let isAlone: Bool
    }

    private struct State {
        var guests: [Guest] = []
        /// Who wants to be alone comes before others that do not.
        var waitingAlone = 0
        var lastNumber = 0
    }

    private let state = Mutex(State())

    /// How long one that was lost may hold up the others.
    private static let glance = Duration.milliseconds(20)

    /// Waits for a place; nil when `mayWait` says no, or the task is cancelled.
    func enter(
        _ delivery: Delivery, isAlone: Bool, mayWait: @Sendable () -> Bool
    ) async -> Place? {
        if isAlone { state.withLock { $0.waitingAlone += 1 } }
        defer { if isAlone { state.withLock { $0.waitingAlone -= 1 } } }
        while mayWait() {
            if let place = take(delivery, isAlone: isAlone) { return place }
            do {
                try await Task.sleep(for: Self.glance)
            } catch {
                return nil
            }
        }
        return nil
    }

    private func take(_ delivery: Delivery, isAlone: Bool) -> Place? {
        state.withLock { state in
            // A handler that hangs with what is another member's by now must not hold up the rest.
            state.guests.removeAll { $0.delivery.isCut }
            let isFree =
                isAlone
                ? state.guests.isEmpty
                : state.waitingAlone == 0 && !state.guests.contains(where: \.isAlone)
            guard isFree else { return nil }
            state.lastNumber += 1
            state.guests.append(
                Guest(number: state.lastNumber, delivery: delivery, isAlone: isAlone))
            return Place(number: state.lastNumber)
        }
    }

    func leave(_ place: Place) {
        state.withLock { $0.guests.removeAll { $0.number == place.number } }
    }
}
