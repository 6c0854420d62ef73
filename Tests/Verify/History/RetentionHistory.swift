/// A queue behind the retention of its topic: what members had begun with is handled or a dead
/// letter, and all else that is gone is counted.
struct RetentionHistory {
    typealias Place = LogHistory.Place

    /// The broker has taken it that a handler began: when that was heard.
    private var begun: [Place: Int64] = [:]
    /// And the record was still there then.
    private var owed: Set<Place> = []
    private var asked: [Int64: Int64] = [:]

    mutating func take(_ event: HistoryEvent) {
        switch (event.operation, event.phase) {
        case (.settle, .ok?) where event.kind == QueueScene.passing.rawValue && begins(event):
            for offset in event.offset..<max(event.offset, event.end) {
                let place = Place(partition: event.partition, offset: offset)
                begun[place] = begun[place] ?? event.time
            }
        case (.committed, .invoke?): asked[event.number] = event.time
        case (.accounts, _) where event.member == HistoryWorker.passingGroup && event.lane == 0:
            guard let time = asked[event.number] else { return }
            for (place, since) in begun
            where since < time && place.partition == event.partition
                && place.offset >= event.logStart
            {
                owed.insert(place)
                begun[place] = nil
            }
        default: break
        }
    }

    private func begins(_ event: HistoryEvent) -> Bool {
        event.word == "begin" || event.word == "again" || event.word == "failed"
    }

    func close(_ queue: QueueHistory, dead: [Place: Int], _ findings: inout Findings) {
        for place in owed {
            findings.check(
                .rescued, queue.mayBeDone(place) || dead[place] != nil,
                "\(place): begun, then neither acked nor a dead letter")
        }
    }
}
