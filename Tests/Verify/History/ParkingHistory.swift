/// What members of the stream group handled that parks keys: all of it in the end, and of each key one
/// record after the other, whatever was parked, released or handed over meanwhile.
struct ParkingHistory {
    private typealias Place = LogHistory.Place

    private struct Key: Hashable {
        let partition: Int32
        let lane: Int
    }

    /// When a handler began first with each, and when one ended well first.
    private var begun: [Place: Int64] = [:]
    private var done: [Place: Int64] = [:]

    mutating func take(_ event: HistoryEvent) {
        guard event.kind == HistoryWorker.Kind.parking.rawValue else { return }
        let place = Place(partition: event.partition, offset: event.offset)
        switch event.operation {
        case .begin: begun[place] = begun[place] ?? event.time
        case .done: done[place] = done[place] ?? event.time
        default: break
        }
    }

    /// Of a log that nobody used for it there is nothing to say.
    func close(_ log: LogHistory, _ findings: inout Findings) {
        for (payload, place) in log.acked {
            findings.check(
                .unhandled, done[place] != nil, "by the stream group that parks: \(payload)")
        }
        var keys: [Key: [Int64]] = [:]
        for (place, payload) in log.content {
            keys[Key(partition: place.partition, lane: payload.lane), default: []]
                .append(place.offset)
        }
        for (key, offsets) in keys { check(key, offsets.sorted(), &findings) }
    }

    private func check(_ key: Key, _ offsets: [Int64], _ findings: inout Findings) {
        // When the last of those before it was over.
        var over = Int64.min
        for offset in offsets {
            let place = Place(partition: key.partition, offset: offset)
            if let time = begun[place] {
                findings.check(
                    .parkedOrder, time >= over,
                    "\(key): \(offset) begun before all earlier ones were handled")
            }
            over = max(over, done[place] ?? .max)
        }
    }
}
