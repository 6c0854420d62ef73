/// What producers and readers of all kinds say of the log.
struct LogHistory {
    struct Place: Hashable {
        let partition: Int32
        let offset: Int64
    }

    /// nil: the one that everybody reads.
    private let topic: String?

    private var sent: Set<Payload.Name> = []
    private var refused: Set<Payload.Name> = []
    private(set) var content: [Place: Payload.Name] = [:]
    private(set) var acked: [Payload.Name: Place] = [:]
    /// The complete read at the end.
    private var drained: [Place: Payload.Name] = [:]
    private var places: [Payload.Name: Place] = [:]
    private var lastOfLane: [Int32: [Int: Int]] = [:]

    init(topic: String? = nil) { self.topic = topic }

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        let place = Place(partition: event.partition, offset: event.offset)
        switch (event.operation, event.phase) {
        case (.send, _) where event.member != topic ?? "": return
        case (.begin, _) where (event.kind == QueueScene.passing.rawValue) == (topic == nil): return
        case (.drain, _) where topic != nil: return
        case (.send, .invoke?):
            if let payload = event.payload { sent.insert(payload) }
        case (.send, .ok?):
            guard let payload = event.payload else { return }
            acked[payload] = place
            put(payload, place, &findings)
        case (.send, .fail?):
            if let payload = event.payload { refused.insert(payload) }
        case (.begin, _):
            read(event.payload, place, &findings)
        case (.drain, _):
            read(event.payload, place, &findings)
            if let payload = event.payload { drain(payload, place, &findings) }
        default: break
        }
    }

    private mutating func read(
        _ payload: Payload.Name?, _ place: Place, _ findings: inout Findings
    ) {
        guard let payload, sent.contains(payload) else {
            let words = payload.map { "\($0)" } ?? "bytes that nobody sent"
            return findings.check(.phantom, false, "\(place): \(words)")
        }
        findings.check(.phantom, true, "")
        put(payload, place, &findings)
    }

    private mutating func put(
        _ payload: Payload.Name, _ place: Place, _ findings: inout Findings
    ) {
        let known = content[place] ?? payload
        findings.check(.offsetConflict, known == payload, "\(place): \(known), then \(payload)")
        content[place] = payload
    }

    /// Comes in the order of the log.
    private mutating func drain(
        _ payload: Payload.Name, _ place: Place, _ findings: inout Findings
    ) {
        drained[place] = payload
        let former = places.updateValue(place, forKey: payload)
        findings.check(.duplicate, former == nil, "\(payload) at \(place), too")
        let last = lastOfLane[place.partition]?[payload.lane] ?? -1
        findings.check(
            .orderProducer, last < payload.counter, "\(place): \(payload) after \(last)")
        lastOfLane[place.partition, default: [:]][payload.lane] = payload.counter
    }

    func close(_ findings: inout Findings) {
        // Of a topic with retention what is gone is counted elsewhere.
        guard topic == nil else { return }
        for (payload, place) in acked {
            findings.check(
                .lostAcked, places[payload] != nil, "\(payload), acknowledged at \(place)")
            guard let read = places[payload] else { continue }
            findings.check(
                .ackOffset, read == place, "\(payload): acknowledged at \(place), read at \(read)")
        }
        for (place, payload) in content {
            findings.check(.readThenGone, drained[place] != nil, "\(place): \(payload)")
        }
        for payload in refused {
            findings.check(.failedVisible, places[payload] == nil, "\(payload)")
        }
    }
}
