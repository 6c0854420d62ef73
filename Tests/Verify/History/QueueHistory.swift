/// What members of a queue group were handed and have said of it.
struct QueueHistory {
    struct Record: Hashable {
        let partition: Int32
        /// 0: the flow; 1: what was sent again.
        let lane: Int64
        let offset: Int64
    }

    /// What one delivery says of one record.
    struct Hold {
        let delivery: UInt64
        let process: Int
        /// When it was surely handed out already.
        let known: Int64
        /// Not before.
        let asked: Int64
        /// The lease holds at least so long, if nothing ends it.
        var until: Int64
        /// What ends it was about to be said.
        var ended = Int64.max
        /// When an ack was about to be said.
        var saidAck = Int64.max
        /// When it was about to be said that the handler failed for ever, and when that was taken.
        var saidFailed: Int64?
        var failed: Int64?
        /// When an ack was answered as taken, and no other delivery's ack can be why: this was the
        /// newest delivery.
        var acked: Int64?

        /// Numbers of deliveries grow within one life of the broker.
        var life: UInt64 { delivery >> 32 }
    }

    private static let lease = HistoryWorker.lease.nanoseconds

    let scene: QueueScene
    private(set) var holds: [Record: [Hold]] = [:]
    private var left: [Int: Int64] = [:]
    private(set) var handled: Set<LogHistory.Place> = []
    /// When an ack of any delivery was first answered as taken.
    private var done: [Record: Int64] = [:]
    /// Of which an ack was said at all.
    private var saidDone: Set<Record> = []
    /// What the group counts in the end.
    private var tally: (acked: Int64, dead: Int64, expired: Int64, parked: Int64)?
    /// When a lease was about to be extended, by process and number.
    private var extending: [Int: [Int64: Int64]] = [:]

    init(_ scene: QueueScene) { self.scene = scene }

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        if event.kind == scene.rawValue { hearMember(event) }
        if event.operation == .tally, event.member == scene.group {
            tally = (event.acked, event.dead, event.expired, event.parked)
        }
        guard event.operation == .accounts, event.member == scene.group else { return }
        let count = event.lane == 0 ? event.end - event.offset : event.end
        findings.check(
            .accounts, event.sum == count,
            "\(scene), partition \(event.partition), lane \(event.lane): \(event.sum) of \(count)")
    }

    private mutating func hearMember(_ event: HistoryEvent) {
        switch (event.operation, event.phase) {
        case (.leave, _): left[event.process] = event.time
        case (.deliver, _): deliver(event)
        case (.settle, .invoke?): say(event)
        case (.settle, .ok?): hear(event)
        case (.settle, .fail?) where ends(event):
            change(event) { hold, _ in hold.saidAck = .max }
        case (.done, _):
            handled.insert(LogHistory.Place(partition: event.partition, offset: event.offset))
        default: break
        }
    }

    /// Handled or dead: nobody gets it again.
    private func ends(_ event: HistoryEvent) -> Bool {
        event.word == "done" || (event.word == "failed" && scene.buries)
    }

    private static func records(_ event: HistoryEvent) -> [Record] {
        (event.offset..<max(event.offset, event.end)).map {
            Record(partition: event.partition, lane: event.lane, offset: $0)
        }
    }

    private mutating func deliver(_ event: HistoryEvent) {
        for record in Self.records(event) {
            holds[record, default: []].append(
                Hold(
                    delivery: event.delivery, process: event.process, known: event.time,
                    asked: event.asked, until: event.asked + Self.lease))
        }
    }

    /// `body` is told whether another delivery of the record may be acked by now: then whatever is
    /// said of it is answered as taken.
    private mutating func change(_ event: HistoryEvent, _ body: (inout Hold, Bool) -> Void) {
        for record in Self.records(event) {
            guard let all = holds[record],
                let index = all.lastIndex(where: { $0.delivery == event.delivery })
            else { continue }
            var hold = all[index]
            body(&hold, all.contains { $0.delivery != event.delivery && $0.saidAck < .max })
            holds[record]?[index] = hold
        }
    }

    private mutating func say(_ event: HistoryEvent) {
        let endsIt = ends(event)
        switch event.word {
        case "extend": extending[event.process, default: [:]][event.number] = event.time
        case "done", "failed":
            if event.word == "done" { saidDone.formUnion(Self.records(event)) }
            change(event) { hold, _ in
                hold.ended = min(hold.ended, event.time)
                if endsIt { hold.saidAck = min(hold.saidAck, event.time) }
                if event.word == "failed" { hold.saidFailed = hold.saidFailed ?? event.time }
            }
        case "again": change(event) { hold, _ in hold.ended = min(hold.ended, event.time) }
        default: break
        }
    }

    private mutating func hear(_ event: HistoryEvent) {
        switch event.word {
        case "extend":
            guard let said = extending[event.process]?[event.number] else { return }
            // What retention took is answered as taken, whoever holds it.
            guard scene.keepsAll else { return }
            change(event) { hold, mayBeAcked in
                if !mayBeAcked { hold.until = max(hold.until, said + Self.lease) }
            }
        case "failed" where !ends(event):
            change(event) { hold, mayBeAcked in
                if !mayBeAcked { hold.failed = hold.failed ?? event.time }
            }
        case "done", "failed":
            change(event) { hold, mayBeAcked in
                if !mayBeAcked { hold.acked = hold.acked ?? event.time }
            }
            for record in Self.records(event) { done[record] = done[record] ?? event.time }
        default: break
        }
    }

    func close(
        _ acked: [Payload.Name: LogHistory.Place], dead: [LogHistory.Place: Int],
        _ findings: inout Findings
    ) {
        for (record, unsorted) in holds {
            let holds = unsorted.sorted { ($0.known, $0.delivery) < ($1.known, $1.delivery) }
            for (hold, next) in pairs(holds) {
                checkLease(record, hold, next, &findings)
            }
            checkAck(record, holds, &findings)
        }
        if let tally {
            findings.check(
                .accounts, tally.acked <= saidDoneInFlow,
                "\(scene): \(tally.acked) acked, \(saidDoneInFlow) that anybody said")
            let listed = dead.values.reduce(0, +)
            findings.check(
                .accounts, tally.dead == listed,
                "\(scene): \(tally.dead) dead, \(listed) listed")
            findings.check(
                .accounts, tally.parked == 0 && (tally.expired == 0 || !scene.keepsAll),
                "\(scene): \(tally.parked) parked, \(tally.expired) expired in the end")
        }
        guard scene.keepsAll else { return }
        for (payload, place) in acked {
            let isDone = handled.contains(place) || dead[place] != nil
            findings.check(.unhandled, isDone, "by \(scene.group): \(payload)")
        }
    }

    /// So many at most are acked in the flow.
    private var saidDoneInFlow: Int { saidDone.count { $0.lane == 0 } }

    /// A member has begun to say that it is done.
    func mayBeDone(_ place: LogHistory.Place) -> Bool {
        saidDone.contains(Record(partition: place.partition, lane: 0, offset: place.offset))
    }

    /// Its leases are over then at the latest, unless it goes on to extend them.
    func endOfLease(_ hold: Hold) -> Int64 {
        min(hold.until, hold.ended, left[hold.process] ?? .max)
    }

    /// Neighbours in the order in which one life of the broker handed them out.
    private func pairs(_ holds: [Hold]) -> [(Hold, Hold)] {
        Dictionary(grouping: holds, by: \.life).values.flatMap { holds in
            let inOrder = holds.sorted { $0.delivery < $1.delivery }
            return Array(zip(inOrder, inOrder.dropFirst()))
        }
    }

    private func checkLease(
        _ record: Record, _ hold: Hold, _ next: Hold, _ findings: inout Findings
    ) {
        let end = endOfLease(hold)
        findings.check(
            .doubleLease, next.known >= end,
            "\(record): delivery \(next.delivery) \((end - next.known) / 1_000) µs before the end of \(hold.delivery)"
        )
    }

    private func checkAck(_ record: Record, _ holds: [Hold], _ findings: inout Findings) {
        guard let acked = done[record] else { return }
        let settling = holds.first { $0.acked != nil }
        let again = holds.first { hold in
            // What retention settled is answered as taken to whoever had it, also before others.
            if scene.keepsAll, let settling, settling.life == hold.life,
                hold.delivery > settling.delivery
            {
                return true
            }
            return hold.asked > acked
        }
        findings.check(
            .handledOnceAfterAck, again == nil,
            "\(record): acked by delivery \(settling?.delivery ?? 0), and again with \(again?.delivery ?? 0)"
        )
    }
}

extension Duration {
    var nanoseconds: Int64 {
        components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
    }
}
