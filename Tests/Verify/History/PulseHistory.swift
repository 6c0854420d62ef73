import MartletSystem

/// How the broker lives: where its logs end, how long nobody is answered when it was killed, what it
/// takes of its machine, and what of it is over.
struct PulseHistory {
    private struct Log: Hashable {
        let group: String
        let partition: Int32
    }

    private struct Word: Hashable {
        let process: Int
        let name: String
    }

    /// Nobody waits longer for an answer after a kill.
    private static let silence: Int64 = 20_000_000_000
    /// What a broker may hold in the end beyond what it held before its first request: logs of topics
    /// and groups that are open.
    private static let moreDescriptors: Int64 = 200
    /// A sanitizer's own comes on top.
    private static var mostBytes: Int64 {
        let isSanitized = CurrentProcess.environment["ASAN_OPTIONS"] != nil
        return isSanitized ? 1 << 30 : 256 << 20
    }

    private var logs: [Log: (start: Int64, end: Int64)] = [:]
    private var acked: [Int32: Int64] = [:]
    private var ackedBefore: [Int64: [Int32: Int64]] = [:]
    private var killed: Int64?
    /// When each send was begun that is open.
    private var sends: [Payload.Name: Int64] = [:]
    private var open: [Word: Int64] = [:]
    private var ended: Set<Int> = []
    private var silences: [Int64] = []
    private var calm: Int64?
    private var rest: Int64?
    private var longestSend: Int64 = 0
    private var resources: [(bytes: Int64, descriptors: Int64)] = []

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        switch event.operation {
        case .send: send(event, &findings)
        case .settle: settle(event)
        case .committed where event.phase == .invoke: ackedBefore[event.number] = acked
        case .accounts where event.lane == 0: look(event, &findings)
        case .nemesis where event.word == "kill-broker": killed = event.time
        case .nemesis where event.word == "calm": calm = event.time
        case .nemesis where event.word == "rest": rest = event.time
        case .end: ended.insert(event.process)
        case .resource: resources.append((event.bytes, event.descriptors))
        default: break
        }
    }

    // MARK: - Logs

    private mutating func look(_ event: HistoryEvent, _ findings: inout Findings) {
        let log = Log(group: event.member, partition: event.partition)
        let words = "\(log.group), partition \(log.partition)"
        let (start, end) = logs[log] ?? (0, 0)
        findings.check(
            .highWatermark, event.end >= end, "\(words): ends at \(event.end) after \(end)")
        findings.check(
            .highWatermark, event.logStart >= start && event.logStart <= event.end,
            "\(words): begins at \(event.logStart) after \(start), ends at \(event.end)")
        logs[log] = (max(start, event.logStart), max(end, event.end))
        guard event.member != HistoryWorker.passingGroup,
            let last = ackedBefore[event.number]?[event.partition]
        else { return }
        findings.check(
            .highWatermark, event.end > last, "\(words): ends at \(event.end), \(last) is acked")
    }

    // MARK: - Answers

    private mutating func send(_ event: HistoryEvent, _ findings: inout Findings) {
        guard let payload = event.payload, event.member.isEmpty else { return }
        switch event.phase {
        case .invoke?:
            sends[payload] = event.time
            open[Word(process: event.process, name: "send \(payload)")] = event.time
        case .ok?:
            open[Word(process: event.process, name: "send \(payload)")] = nil
            acked[event.partition] = max(acked[event.partition] ?? -1, event.offset)
            guard let begun = sends.removeValue(forKey: payload) else { return }
            longestSend = max(longestSend, event.time - begun)
            guard let killed, begun > killed else { return }
            silences.append(event.time - killed)
            self.killed = nil
            findings.check(
                .liveness, event.time - killed <= Self.silence,
                "nobody was answered for \((event.time - killed) / 1_000_000) ms after a kill")
        case .fail?, .info?:
            open[Word(process: event.process, name: "send \(payload)")] = nil
            sends[payload] = nil
        case nil: break
        }
    }

    private mutating func settle(_ event: HistoryEvent) {
        let name = "settlement \(event.number) of \(event.delivery), \(event.offset)"
        let word = Word(process: event.process, name: name)
        open[word] = event.phase == .invoke ? event.time : nil
    }

    func close(_ findings: inout Findings) {
        let unanswered = open.keys.filter { ended.contains($0.process) }
        for word in unanswered { findings.check(.liveness, false, "unanswered: \(word.name)") }
        if !ended.isEmpty { findings.check(.liveness, true, "") }
        if let calm {
            findings.check(
                .liveness, rest != nil, "\(calm): not all was handled in time after the last fault")
        }
        if let first = resources.first, let last = resources.last, resources.count > 1 {
            findings.check(
                .resource, last.descriptors <= first.descriptors + Self.moreDescriptors,
                "\(last.descriptors) descriptors, \(first.descriptors) at the beginning")
            findings.check(.resource, last.bytes <= Self.mostBytes, "\(last.bytes) bytes resident")
        }
    }

    var line: String {
        let silence = (silences.max() ?? 0) / 1_000_000
        let settled = calm.flatMap { calm in rest.map { "\(($0 - calm) / 1_000_000) ms" } }
        let first = resources.first ?? (0, 0)
        let last = resources.last ?? (0, 0)
        return
            "nobody answered for \(silence) ms at most after \(silences.count) kills, longest send \(longestSend / 1_000_000) ms, all at rest after \(settled ?? "-"); \(first.bytes >> 20) to \(last.bytes >> 20) MiB, \(first.descriptors) to \(last.descriptors) descriptors"
    }
}
