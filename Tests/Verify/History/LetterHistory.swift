/// What members of a queue were told is dead, and what the broker has of it in the end.
struct LetterHistory {
    typealias Place = LogHistory.Place

    private let scene: QueueScene
    /// On which lanes each died: 0 the flow, 1 sent again.
    private var dead: [Place: Set<Int64>] = [:]
    /// How often each is listed.
    private(set) var listed: [Place: Int] = [:]
    /// Of which an ack was taken in the flow.
    private var acked: Set<Place> = []
    /// What the dead letter topic has of each. A redo after a crash is not seen by anybody.
    private var stored: [Place: Set<Payload.Name?>] = [:]

    init(_ scene: QueueScene) { self.scene = scene }

    mutating func take(_ event: HistoryEvent) {
        let place = Place(partition: event.partition, offset: event.offset)
        switch (event.operation, event.phase) {
        case (.settle, .ok?) where event.kind == scene.rawValue && event.word == "failed":
            dead[place, default: []].insert(event.lane)
        case (.settle, .ok?)
        where event.kind == scene.rawValue && event.word == "done" && event.lane == 0:
            for offset in event.offset..<max(event.offset, event.end) {
                acked.insert(Place(partition: event.partition, offset: offset))
            }
        case (.listed, _) where event.member == scene.group: listed[place, default: 0] += 1
        case (.letter, _) where event.member == scene.group:
            stored[place, default: []].insert(event.payload)
        default: break
        }
    }

    /// `replayed`: what may have died a second time.
    func close(
        _ content: [Place: Payload.Name], replayed: Set<Place>, _ findings: inout Findings
    ) {
        guard scene.buries else { return }
        // What was sent again may be acked in the flow, and dead beside it.
        for place in listed.keys where !replayed.contains(place) {
            findings.check(.ackOfDead, !acked.contains(place), "\(scene), \(place)")
        }
        for place in Set(dead.keys).union(listed.keys) {
            let times = listed[place] ?? 0
            let least = max(1, dead[place]?.count ?? 0)
            let most = replayed.contains(place) ? 2 : 1
            // What retention had taken before is dead for nobody but its member.
            let isExpired = !scene.keepsAll && listed[place] == nil
            if isExpired { continue }
            findings.check(
                .deadLetterLost, times >= least && times <= most,
                "\(scene), \(place): listed \(times) times")
            findings.check(
                .deadLetterLost, stored[place] == [content[place]],
                "\(scene), \(place): \(stored[place]?.map { "\($0, default: "?")" } ?? ["nothing"]) instead of \(content[place], default: "?")"
            )
        }
    }
}
