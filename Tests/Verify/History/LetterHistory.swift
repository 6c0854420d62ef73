/// What members were told is dead, and what the broker has of it in the end.
struct LetterHistory {
    typealias Place = LogHistory.Place

    private var dead: Set<Place> = []
    /// How often each is listed.
    private(set) var listed: [Place: Int] = [:]
    /// What the dead letter topic has of each. A redo after a crash is not seen by anybody.
    private var stored: [Place: Set<Payload.Name?>] = [:]

    mutating func take(_ event: HistoryEvent) {
        let place = Place(partition: event.partition, offset: event.offset)
        switch (event.operation, event.phase) {
        case (.settle, .ok?) where event.word == "failed": dead.insert(place)
        case (.listed, _): listed[place, default: 0] += 1
        case (.letter, _): stored[place, default: []].insert(event.payload)
        default: break
        }
    }

    func close(_ content: [Place: Payload.Name], _ findings: inout Findings) {
        for place in dead.union(listed.keys) {
            let times = listed[place] ?? 0
            findings.check(.deadLetterLost, times == 1, "\(place): listed \(times) times")
            findings.check(
                .deadLetterLost, stored[place] == [content[place]],
                "\(place): \(stored[place]?.map { "\($0, default: "?")" } ?? ["nothing"]) instead of \(content[place], default: "?")"
            )
        }
    }
}
