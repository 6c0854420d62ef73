/// What was sent to the queue again: each record of it is handled at least once more, and nothing
/// else is.
struct ReplayHistory {
    typealias Place = LogHistory.Place

    /// Chosen, and when.
    private var chosen: [Place: Int64] = [:]
    private var taken: Set<Place> = []
    private var handled: Set<Place> = []
    private var dead: Set<Place> = []
    /// Handled in the flow before they were chosen: only such ones are.
    private var flow: Set<Place> = []
    private var unhandled: Set<Place> = []

    var places: Set<Place> { Set(chosen.keys) }

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        let places = (event.offset..<max(event.offset, event.end)).map {
            Place(partition: event.partition, offset: $0)
        }
        switch (event.operation, event.phase) {
        case (.replay, .invoke?):
            for place in places { chosen[place] = event.time }
            unhandled.formUnion(places.filter { !flow.contains($0) })
        case (.replay, .ok?): taken.formUnion(places)
        case (.deliver, _) where isOfLane(event):
            for place in places {
                findings.check(.replayStray, chosen[place] != nil, "\(place)")
            }
        case (.settle, .invoke?) where isOfLane(event) && event.word == "failed":
            dead.formUnion(places)
        case (.done, _) where event.kind == QueueScene.free.rawValue:
            let place = Place(partition: event.partition, offset: event.offset)
            if chosen[place] == nil { flow.insert(place) } else { handled.insert(place) }
        default: break
        }
    }

    private func isOfLane(_ event: HistoryEvent) -> Bool {
        event.kind == QueueScene.free.rawValue && event.lane == 1
    }

    func close(dead letters: [Place: Int], _ findings: inout Findings) {
        for place in taken {
            let isDone = handled.contains(place) || dead.contains(place)
            findings.check(.replayLost, isDone, "\(place)")
        }
        // It must not be by the replay alone that it was handled.
        for place in unhandled {
            findings.check(.unhandled, letters[place] != nil, "by the flow: \(place)")
        }
    }
}
