/// In what order a queue in order by key hands out the records of one key, by the numbers of its
/// deliveries and by what its members say and hear.
struct KeyOrderHistory {
    private struct Key: Hashable {
        let partition: Int32
        let lane: Int
    }

    private struct Delivery {
        let offset: Int64
        let hold: QueueHistory.Hold
    }

    /// What becomes of a key whose record fails, from a time on.
    private var policies: [(time: Int64, parksKey: Bool)] = []
    /// When each was asked for, and answered.
    private var releases: [(from: Int64, to: Int64)] = []

    mutating func take(_ event: HistoryEvent) {
        guard event.operation == .nemesis, event.member == HistoryWorker.orderedGroup else {
            return
        }
        switch event.word {
        case "park-key": policies.append((event.time, true))
        // Before it is asked for, since nobody knows when it holds.
        case "park-record": policies.append((event.time, false))
        case "release": releases.append((event.time, .max))
        case "released":
            if let last = releases.indices.last { releases[last].to = event.time }
        default: break
        }
    }

    func close(
        _ queue: QueueHistory, _ content: [LogHistory.Place: Payload.Name],
        _ findings: inout Findings
    ) {
        var lines: [Key: [Delivery]] = [:]
        // Numbers of deliveries grow within a life of the broker, whose own number says nothing.
        var lives: [UInt64: Int64] = [:]
        for (record, holds) in queue.holds {
            let place = LogHistory.Place(partition: record.partition, offset: record.offset)
            for hold in holds { lives[hold.life] = min(lives[hold.life] ?? .max, hold.known) }
            guard let lane = content[place]?.lane else { continue }
            lines[Key(partition: record.partition, lane: lane), default: []] += holds.map {
                Delivery(offset: record.offset, hold: $0)
            }
        }
        for (key, unsorted) in lines {
            let line = unsorted.sorted {
                (lives[$0.hold.life] ?? 0, $0.hold.delivery, $0.offset)
                    < (lives[$1.hold.life] ?? 0, $1.hold.delivery, $1.offset)
            }
            checkOneOut(key, line, queue, &findings)
            checkOffsets(key, line, &findings)
            checkParked(key, line, &findings)
        }
    }

    /// In one life of the broker the one before has ended, or its lease has.
    private func checkOneOut(
        _ key: Key, _ line: [Delivery], _ queue: QueueHistory, _ findings: inout Findings
    ) {
        for (one, next) in zip(line, line.dropFirst())
        where one.hold.life == next.hold.life && one.offset != next.offset {
            let early = queue.endOfLease(one.hold) - next.hold.known
            findings.check(
                .queueKeyOrder, early <= 0 && one.hold.delivery != next.hold.delivery,
                "\(key): \(next.offset) out \(early / 1_000) µs before the end of \(one.offset)")
        }
    }

    /// Handed out first, they rise, and none comes before the end of an earlier one was said.
    private func checkOffsets(_ key: Key, _ line: [Delivery], _ findings: inout Findings) {
        var ended: [Int64: Int64] = [:]
        for delivery in line {
            let said = min(delivery.hold.saidAck, delivery.hold.saidFailed ?? .max)
            ended[delivery.offset] = min(ended[delivery.offset] ?? .max, said)
        }
        var last: Int64 = -1
        var seen: Set<Int64> = []
        for delivery in line where seen.insert(delivery.offset).inserted {
            let offset = delivery.offset
            findings.check(.queueKeyOrder, offset > last, "\(key): \(offset) first after \(last)")
            let isOver = last < 0 || ended[last] ?? .max <= delivery.hold.known
            findings.check(.queueKeyOrder, isOver, "\(key): \(offset) before the end of \(last)")
            last = max(last, offset)
        }
    }

    /// Parked with its key, it is the next that comes, and only once it was released.
    private func checkParked(_ key: Key, _ line: [Delivery], _ findings: inout Findings) {
        for parked in line {
            guard let said = parked.hold.saidFailed, let taken = parked.hold.failed,
                parksKey(from: said, to: taken)
            else { continue }
            let released = releases.first { $0.to > said }?.from ?? .max
            let early = line.first {
                $0.offset >= parked.offset && $0.hold.asked > taken && $0.hold.known < released
            }
            findings.check(
                .queueKeyOrder, early == nil,
                "\(key): \(early?.offset ?? -1) handed out while \(parked.offset) is parked")
        }
    }

    /// Whether that surely held all the time.
    private func parksKey(from: Int64, to: Int64) -> Bool {
        guard let last = policies.last(where: { $0.time < from }), last.parksKey else {
            return false
        }
        return !policies.contains { $0.time >= from && $0.time <= to }
    }
}
