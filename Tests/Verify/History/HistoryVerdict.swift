/// What the histories of a run say.
struct HistoryVerdict {
    var findings: Findings
    private let counts: HistoryCounts
    private let seconds: Int
    private let seed: UInt64

    init(files: [String], seconds: Int, seed: UInt64) throws {
        var events: [HistoryEvent] = []
        for (process, file) in files.enumerated() {
            try HistoryFile.read(file) {
                events.append(try HistoryEvent($0, process: process))
            }
        }
        events.sort { $0.time < $1.time }
        var (findings, counts) = (Findings(), HistoryCounts())
        var (log, stream, queue) = (LogHistory(), StreamHistory(), QueueHistory())
        var (letters, pauses) = (LetterHistory(), PauseHistory())
        for event in events {
            counts.take(event)
            log.take(event, &findings)
            stream.take(event, &findings)
            queue.take(event, &findings)
            letters.take(event)
            pauses.take(event, &findings)
        }
        log.close(&findings)
        stream.close(log.acked, &findings)
        queue.close(log.acked, dead: letters.listed, &findings)
        letters.close(log.content, &findings)
        self.findings = findings
        self.counts = counts
        self.seconds = seconds
        self.seed = seed
    }

    /// 0 all holds, 1 something does not, 2 too little happened to say so.
    var exitCode: Int32 {
        if !findings.violated.isEmpty { return 1 }
        return findings.unseen.isEmpty && counts.missing(seconds: seconds).isEmpty ? 0 : 2
    }

    var summary: String {
        var lines = ["history: \(seconds) s, seed \(seed): \(counts.line)"]
        lines += findings.lines
        for invariant in findings.unseen {
            lines.append("  never looked at: \(invariant.rawValue)")
        }
        lines += counts.missing(seconds: seconds).map { "  too few: \($0)" }
        lines.append(exitCode == 0 ? "PASSED" : exitCode == 1 ? "FAILED" : "INCONCLUSIVE")
        return lines.joined(separator: "\n")
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
    private var deeds: [String: Int] = [:]

    mutating func take(_ event: HistoryEvent) {
        switch (event.operation, event.phase) {
        case (.send, .ok): acked += 1
        case (.commit, .ok): commits += 1
        case (.commit, .fail): refused += 1
        case (.settle, .ok) where event.word == "done":
            settled += Int(event.end - event.offset)
        case (.settle, .ok) where event.word == "failed": deaths += 1
        case (.assign, _): grants += 1
        case (.accounts, _): looks += 1
        case (.nemesis, _): deeds[event.word, default: 0] += 1
        default: break
        }
    }

    var line: String {
        "\(acked) sends acknowledged, \(commits) commits, \(refused) refused, \(settled) acks, \(deaths) dead, \(grants) assignments, \(looks) accounts; "
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
            ("kills of the broker", deeds["kill-broker", default: 0], max(1, seconds / 10)),
            ("kills of producers", deeds["kill-producer", default: 0], max(1, seconds / 20)),
            ("kills of members", deeds["kill", default: 0], max(1, seconds / 10)),
            ("members that stood still", deeds["stop", default: 0], max(1, seconds / 15)),
            ("members that left", deeds["leave", default: 0], max(1, seconds / 15)),
        ]
        return needed.filter { $0.1 < $0.2 }.map { "\($0.0): \($0.1) of \($0.2)" }
    }
}
