import FoundationEssentials
import MartletClient

/// Compares what both groups did with the input file.
struct GroupsCheck {
    private let topic: String
    private let files: ActFiles
    private let expected: [FlightEvent]
    private let ids: Set<String>
    private let screen = Screen()

    /// `TOPIC CSV FOLDER`.
    init(_ arguments: [String]) throws {
        topic = arguments[0]
        expected = try FlightFile.events(String(contentsOfFile: arguments[1], encoding: .utf8))
        ids = Set(expected.map(\.id))
        files = ActFiles(folder: arguments[2])
    }

    /// What is wrong, by what is wrong with it.
    private struct Findings {
        private(set) var lists: [(what: String, found: [String])] = []

        var holds: Bool { lists.allSatisfy(\.found.isEmpty) }

        mutating func add(_ what: String, _ found: some Sequence<String>) {
            lists.append((what, found.sorted()))
        }

        var lines: [String] {
            lists.map { what, found in
                "\(what): "
                    + (found.isEmpty
                        ? "none" : "\(found.count), for example \(found.prefix(3))")
            }
        }
    }

    func run() async throws -> Bool {
        var findings = Findings()
        try checkBoard(&findings)
        try checkNotify(&findings)
        try await Martlet.withClient { client in
            try await checkDeadLetters(client, &findings)
            try await checkAccounts(client, &findings)
        }
        findings.lines.forEach(screen.write)
        screen.write(
            findings.holds
                ? "CHECK PASSED: both groups handled all \(expected.count) events, board in order per key, notify with one message each"
                : "CHECK FAILED")
        return findings.holds
    }

    /// Each event once or more. After a kill the next owner goes back to what was committed, but
    /// nobody ever goes ahead of an event of the same aircraft.
    private func checkBoard(_ findings: inout Findings) throws {
        let lines = try ActFiles.lines(files.handled)
        let keys = Dictionary(
            expected.map { ($0.id, $0.tailNumber) }, uniquingKeysWith: { first, _ in first })
        var seen: Set<String> = []
        var order: [String: [String]] = [:]
        for id in lines.compactMap(\.first) where seen.insert(id).inserted {
            if let key = keys[id] ?? nil { order[key, default: []].append(id) }
        }
        var wanted: [String: [String]] = [:]
        for event in expected {
            if let key = event.tailNumber { wanted[key, default: []].append(event.id) }
        }
        screen.note(
            "board: \(seen.count) events handled, \(lines.count - seen.count) of them again after kills"
        )
        note("board", lines)
        findings.add("board: not handled", ids.subtracting(seen))
        findings.add("board: never happened", seen.subtracting(ids))
        findings.add(
            "board: keys out of order", wanted.filter { order[$0.key] != $0.value }.map(\.key))
    }

    /// Who did how much.
    private func note(_ group: String, _ lines: [[String]]) {
        var counts: [String: Int] = [:]
        for line in lines where line.count > 1 { counts[line[1], default: 0] += 1 }
        let text = counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        screen.note("\(group): \(text.joined(separator: ", "))")
    }

    private func checkNotify(_ findings: inout Findings) throws {
        let lines = try ActFiles.lines(files.sent).filter { $0.count == 3 }
        let again = try ActFiles.lines(files.again)
        let outages = try ActFiles.lines(files.outages).compactMap(\.first)
        let counts = Dictionary(lines.map { ($0[0], 1) }, uniquingKeysWith: +)
        let tails = Dictionary(
            expected.map { ($0.id, $0.tailNumber ?? "-") }, uniquingKeysWith: { first, _ in first })
        let edited = lines.filter { tails[$0[0]] != $0[2] }
        screen.note(
            "notify: \(lines.count) messages sent; \(again.count) events came again after kills, and their messages were not sent twice"
        )
        screen.note(
            "notify: \(outages.count) failures in the outage, of \(Set(outages).count) events")
        for line in edited { screen.note("notify: \(line[0]) went out with \(line[2]), by hand") }
        note("notify", lines)
        findings.add("notify: no message", ids.subtracting(counts.keys))
        findings.add("notify: two messages", counts.filter { $0.value > 1 }.map(\.key))
        findings.add("notify: never happened", Set(counts.keys).subtracting(ids))
        findings.add("notify: an outage that met nobody", outages.isEmpty ? ["outage"] : [])
        let isAsFound = edited.count == 1 && tails[edited[0][0]] == "-"
        findings.add(
            "notify: edits other than one, of a tail number that was missing",
            isAsFound ? [] : ["\(edited.count) edits"])
    }

    /// Dead were the flights without a tail number, each once, and nothing else.
    private func checkDeadLetters(
        _ client: MartletClient, _ findings: inout Findings
    ) async throws {
        let dead = DeadLetterEntry.topic(of: "notify")
        let ends = try await client.admin.listOffsets(dead, at: .latest)
        let end = ends.map(\.offset).max() ?? 0
        let died = try await client.withConsumer(ConsumerConfiguration(topic: dead)) { consumer in
            var died: [String] = []
            for try await record in consumer.records {
                guard let entry = DeadLetterEntry(record) else {
                    throw FlightError("\(dead) has a record that is no dead letter")
                }
                if entry.kind == .died { died.append(try FlightEvent(entry.record).id) }
                if record.offset + 1 >= end { break }
            }
            return died
        }
        let wanted = Set(expected.filter { $0.tailNumber == nil }.map(\.id))
        let counts = Dictionary(died.map { ($0, 1) }, uniquingKeysWith: +)
        screen.note(
            "notify: \(died.count) dead letters; \(wanted.count) events have no tail number")
        findings.add("notify: not dead without a tail number", wanted.subtracting(counts.keys))
        findings.add("notify: dead with a tail number", Set(counts.keys).subtracting(wanted))
        findings.add("notify: dead twice", counts.filter { $0.value > 1 }.map(\.key))
    }

    /// What the broker says of both groups.
    private func checkAccounts(
        _ client: MartletClient, _ findings: inout Findings
    ) async throws {
        let board = try await client.admin.describeGroup("board")
        let notify = try await client.admin.describeGroup("notify")
        let visible = notify.queues.reduce(0) { $0 + ($1.highWatermark ?? $1.start) - $1.start }
        let acked = notify.queues.reduce(0) { $0 + $1.acked }
        let open = notify.queues.reduce(0) { $0 + $1.inFlight + $1.ready + $1.delayed + $1.parked }
        let gone = notify.queues.reduce(0) { $0 + $1.expired + $1.dead }
        screen.note(
            "notify: \(acked) of \(visible) acked, \(open) open, \(gone) expired or dead, lag \(notify.lag); board: lag \(board.lag)"
        )
        var wrong: [String] = []
        if visible != expected.count { wrong.append("\(visible) records, not \(expected.count)") }
        if acked != visible { wrong.append("\(acked) acked of \(visible)") }
        if open != 0 || gone != 0 { wrong.append("\(open) open, \(gone) expired or dead") }
        let letters = notify.deadLetters
        if letters.dead != 0 || letters.replaying != 0 || letters.notStored != 0 {
            wrong.append("dead letters: \(letters)")
        }
        for group in [board, notify] where group.lag != 0 {
            wrong.append("\(group.name) has a lag of \(group.lag)")
        }
        findings.add("accounts that do not add up", wrong)
    }
}
