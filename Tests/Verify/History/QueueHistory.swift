/// What members of the queue group were handed and have said of it.
struct QueueHistory {
    private struct Record: Hashable {
        let partition: Int32
        let offset: Int64
    }

    /// What one delivery says of one record.
    private struct Hold {
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
        /// When an ack was answered as taken, and no other delivery's ack can be why: this was the
        /// newest delivery.
        var acked: Int64?

        /// Numbers of deliveries grow within one life of the broker.
        var life: UInt64 { delivery >> 32 }
    }

    private static let lease = HistoryWorker.lease.nanoseconds

    private var kinds: [Int: String] = [:]
    private var holds: [Record: [Hold]] = [:]
    private var left: [Int: Int64] = [:]
    private var handled: Set<Record> = []
    /// When an ack of any delivery was first answered as taken.
    private var done: [Record: Int64] = [:]
    /// When a lease was about to be extended, by process and number.
    private var extending: [Int: [Int64: Int64]] = [:]

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        switch (event.operation, event.phase) {
        case (.start, _): kinds[event.process] = event.word
        case (.leave, _): left[event.process] = event.time
        case (.deliver, _): deliver(event)
        case (.settle, .invoke?): say(event)
        case (.settle, .ok?): hear(event)
        case (.settle, .fail?) where Self.ends(event):
            change(event) { hold, _ in hold.saidAck = .max }
        case (.done, _) where kinds[event.process] == "queue":
            handled.insert(Record(partition: event.partition, offset: event.offset))
        case (.accounts, _):
            findings.check(
                .accounts, event.sum == event.end - event.offset,
                "partition \(event.partition): \(event.sum) of \(event.end - event.offset)")
        default: break
        }
    }

    /// Handled or dead: nobody gets it again.
    private static func ends(_ event: HistoryEvent) -> Bool {
        event.word == "done" || event.word == "failed"
    }

    private mutating func deliver(_ event: HistoryEvent) {
        for offset in event.offset..<max(event.offset, event.end) {
            holds[Record(partition: event.partition, offset: offset), default: []].append(
                Hold(
                    delivery: event.delivery, process: event.process, known: event.time,
                    asked: event.asked, until: event.asked + Self.lease))
        }
    }

    /// `body` is told whether another delivery of the record may be acked by now: then whatever is
    /// said of it is answered as taken.
    private mutating func change(_ event: HistoryEvent, _ body: (inout Hold, Bool) -> Void) {
        for offset in event.offset..<max(event.offset, event.end) {
            let record = Record(partition: event.partition, offset: offset)
            guard let all = holds[record],
                let index = all.lastIndex(where: { $0.delivery == event.delivery })
            else { continue }
            var hold = all[index]
            body(&hold, all.contains { $0.delivery != event.delivery && $0.saidAck < .max })
            holds[record]?[index] = hold
        }
    }

    private mutating func say(_ event: HistoryEvent) {
        switch event.word {
        case "extend": extending[event.process, default: [:]][event.number] = event.time
        case "done", "failed":
            change(event) { hold, _ in
                hold.ended = min(hold.ended, event.time)
                hold.saidAck = min(hold.saidAck, event.time)
            }
        case "again": change(event) { hold, _ in hold.ended = min(hold.ended, event.time) }
        default: break
        }
    }

    private mutating func hear(_ event: HistoryEvent) {
        switch event.word {
        case "extend":
            guard let said = extending[event.process]?[event.number] else { return }
            change(event) { hold, mayBeAcked in
                if !mayBeAcked { hold.until = max(hold.until, said + Self.lease) }
            }
        case "done", "failed":
            change(event) { hold, mayBeAcked in
                if !mayBeAcked { hold.acked = hold.acked ?? event.time }
            }
            for offset in event.offset..<max(event.offset, event.end) {
                let record = Record(partition: event.partition, offset: offset)
                done[record] = done[record] ?? event.time
            }
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
        for (payload, place) in acked {
            let record = Record(partition: place.partition, offset: place.offset)
            let isDone = handled.contains(record) || dead[place] != nil
            findings.check(.unhandled, isDone, "by the queue: \(payload)")
        }
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
        let end = min(hold.until, hold.ended, left[hold.process] ?? .max)
        findings.check(
            .doubleLease, next.known >= end,
            "\(record): delivery \(next.delivery) \((end - next.known) / 1_000) µs before the end of \(hold.delivery)"
        )
    }

    private func checkAck(_ record: Record, _ holds: [Hold], _ findings: inout Findings) {
        guard let acked = done[record] else { return }
        let settling = holds.first { $0.acked != nil }
        let again = holds.first { hold in
            if let settling, settling.life == hold.life, hold.delivery > settling.delivery {
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
