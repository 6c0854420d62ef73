/// What the histories of a run say.
struct HistoryVerdict: Verdict {
    var findings: Findings
    private let counts: HistoryCounts
    private let pulse: String
    private let seconds: Int
    private let seed: UInt64

    init(files: [String], seconds: Int, seed: UInt64) throws {
        var events: [HistoryEvent] = []
        for (process, file) in files.enumerated() {
            var kind = ""
            try HistoryFile.read(file) {
                let event = try HistoryEvent($0, process: process, kind: kind)
                kind = event.kind
                events.append(event)
            }
        }
        events.sort { $0.time < $1.time }
        var (findings, counts) = (Findings(), HistoryCounts())
        var histories = Histories()
        for event in events {
            counts.take(event)
            histories.take(event, &findings)
        }
        histories.close(&findings)
        self.findings = findings
        self.counts = counts
        pulse = histories.pulse.line
        self.seconds = seconds
        self.seed = seed
    }

    var judgement: Judgement {
        Judgement(
            isViolated: !findings.violated.isEmpty,
            isConclusive: findings.unseen.isEmpty && counts.missing(seconds: seconds).isEmpty)
    }

    var summary: String {
        var lines = ["history: \(seconds) s, seed \(seed): \(counts.line)"]
        lines.append("  " + pulse)
        lines += findings.lines
        for invariant in findings.unseen {
            lines.append("  never looked at: \(invariant.rawValue)")
        }
        lines += counts.missing(seconds: seconds).map { "  too few: \($0)" }
        lines.append(judgement.word)
        return lines.joined(separator: "\n")
    }
}

/// All that is held against the events, each for what it knows.
private struct Histories {
    private var log = LogHistory()
    /// Of the topic that retention takes from.
    private var passing = LogHistory(topic: HistoryWorker.passingTopic)
    private var stream = StreamHistory()
    private var queues = QueueScene.allCases.map { QueueHistory($0) }
    private var letters = QueueScene.allCases.map { LetterHistory($0) }
    private var keyOrder = KeyOrderHistory()
    private var parking = ParkingHistory()
    private var replays = ReplayHistory()
    private var retention = RetentionHistory()
    private var pauses = PauseHistory()
    private(set) var pulse = PulseHistory()

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        log.take(event, &findings)
        passing.take(event, &findings)
        stream.take(event, &findings)
        for index in queues.indices {
            queues[index].take(event, &findings)
            letters[index].take(event)
        }
        keyOrder.take(event)
        parking.take(event)
        replays.take(event, &findings)
        retention.take(event)
        pauses.take(event, &findings)
        pulse.take(event, &findings)
        switch event.operation {
        case .ended: findings.check(.memberEnded, false, event.word)
        // The driver's last line says whether all came to rest.
        case .end where event.kind == "driver":
            findings.check(
                .groupProgress, event.word.isEmpty, "the groups are not done: \(event.word)")
        default: break
        }
    }

    func close(_ findings: inout Findings) {
        log.close(&findings)
        stream.close(log.acked, &findings)
        parking.close(log, &findings)
        for (queue, letters) in zip(queues, letters) {
            let known = queue.scene == .passing ? passing : log
            let replayed = queue.scene == .free ? replays.places : []
            queue.close(known.acked, dead: letters.listed, &findings)
            letters.close(known.content, replayed: replayed, &findings)
            switch queue.scene {
            case .free: replays.close(dead: letters.listed, &findings)
            case .ordered: keyOrder.close(queue, log.content, &findings)
            case .passing: retention.close(queue, dead: letters.listed, &findings)
            }
        }
        pulse.close(&findings)
    }
}

/// How much happened.
struct HistoryCounts {
    private var acked = 0
    private var commits = 0
    private var refused = 0
    private var settled = 0
    private var grants = 0
    private var looks = 0
    private var deaths = 0
    private var parked = 0
    private var expired = 0
    private var rescued = 0
    private var sentAgain = 0
    private var released = 0
    private var deeds: [String: Int] = [:]

    mutating func take(_ event: HistoryEvent) {
        switch (event.operation, event.phase) {
        case (.send, .ok): acked += event.member.isEmpty ? 1 : 0
        case (.commit, .ok): commits += 1
        case (.commit, .fail): refused += 1
        case (.settle, .ok) where event.word == "done":
            settled += Int(event.end - event.offset)
        case (.settle, .ok) where event.word == "failed":
            if event.kind == QueueScene.ordered.rawValue { parked += 1 } else { deaths += 1 }
        case (.replay, .ok): sentAgain += Int(event.end - event.offset)
        case (.tally, _): expired += Int(event.expired)
        case (.listed, _) where event.word == "retention": rescued += 1
        case (.assign, _): grants += 1
        case (.accounts, _): looks += 1
        case (.nemesis, _):
            deeds[event.word, default: 0] += 1
            released += max(0, Int(event.parked))
        default: break
        }
    }

    var line: String {
        "\(acked) sends acknowledged, \(commits) commits, \(refused) refused, \(settled) acks, \(deaths) dead, \(parked) parked, \(released) released in the stream, \(rescued) rescued, \(expired) expired, \(sentAgain) sent again, \(grants) assignments, \(looks) accounts; "
            + deeds.sorted { $0.key < $1.key }.map { "\($0.value) x \($0.key)" }
            .joined(separator: ", ")
    }

    /// What there should be more of to prove anything.
    func missing(seconds: Int) -> [String] {
        let needed = [
            ("sends acknowledged", acked, 20 * seconds), ("commits", commits, 5 * seconds),
            ("commits refused", refused, max(1, seconds / 10)),
            ("acks", settled, 20 * seconds), ("assignments", grants, seconds),
            ("accounts", looks, seconds), ("dead letters", deaths, seconds),
            ("parked", parked, max(1, seconds / 2)), ("expired", expired, seconds),
            ("rescued", rescued, max(1, seconds / 2)), ("sent again", sentAgain, seconds),
            ("released in the stream", released, max(1, seconds / 2)),
            ("kills of the broker", deeds["kill-broker", default: 0], max(1, seconds / 10)),
            ("kills of producers", deeds["kill-producer", default: 0], max(1, seconds / 20)),
            ("kills of members", deeds["kill", default: 0], max(1, seconds / 10)),
            ("members that stood still", deeds["stop", default: 0], max(1, seconds / 15)),
            ("members that left", deeds["leave", default: 0], max(1, seconds / 15)),
        ]
        return needed.filter { $0.1 < $0.2 }.map { "\($0.0): \($0.1) of \($0.2)" }
    }
}
