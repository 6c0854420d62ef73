import MartletFormat
import MartletWire

/// Handlers that run, and outcomes that the broker has not taken: a record that this member is handed
/// once more meanwhile is not handled a second time beside them.
///
/// A restart of the broker makes all records ready that are not settled; those who are at work with
/// them do not notice. It holds what runs and what waits for its answer, and for a while what was
/// refused.
struct OngoingWork {
    enum Phase {
        /// The handler runs, and began then.
        case running(since: Int64)
        /// It has ended; the broker is told.
        case ended(QueueLedger.Verb)
        /// The broker was told of a delivery that does not count any more, or nothing was said for
        /// that reason.
        case refused(QueueLedger.Verb, at: Int64)
    }

    struct Handling {
        /// Under which it began.
        let origin: UInt64
        /// The newest delivery of the record to this member.
        let delivery: UInt64
        /// The how manieth one it is, as the broker counts.
        let attempt: Int
        fileprivate(set) var phase: Phase
    }

    private struct Flow: Hashable {
        let topic: TopicID
        let partition: Int32
        let lane: UInt8

        init(_ delivered: DeliveredRange) {
            topic = delivered.topic
            partition = delivered.partition
            lane = delivered.lane
        }
    }

    private var flows: [Flow: [Int64: Handling]] = [:]

    var isEmpty: Bool { flows.isEmpty }

    mutating func begin(_ offset: Int64, _ delivered: DeliveredRange, at now: Int64) {
        flows[Flow(delivered), default: [:]][offset] = Handling(
            origin: delivered.delivery, delivery: delivered.delivery,
            attempt: Int(delivered.attempts) + 1,
            phase: .running(since: now))
    }

    /// What this member has or had of a range, whatever delivery it was.
    func handlings(
        in range: Range<Int64>, of delivered: DeliveredRange
    ) -> [(offset: Int64, handling: Handling)] {
        guard let flow = flows[Flow(delivered)] else { return [] }
        if flow.count < range.count {
            return flow.filter { range.contains($0.key) }.map { ($0.key, $0.value) }
        }
        return range.compactMap { offset in flow[offset].map { (offset, $0) } }
    }

    /// Those of which an end was said.
    func ended(_ saying: QueueLedger.Saying) -> [(offset: Int64, handling: Handling)] {
        handlings(in: saying.range, of: saying.delivered).filter { _, handling in
            if case .ended = handling.phase { true } else { false }
        }
    }

    /// The newest delivery of the record whose handler began under `origin`; nil: nothing is known of it
    /// any more.
    func delivery(_ offset: Int64, begunUnder origin: DeliveredRange) -> UInt64? {
        guard let handling = flows[Flow(origin)]?[offset], handling.origin == origin.delivery
        else { return nil }
        return handling.delivery
    }

    /// It goes on under a newer delivery, of which the broker is told that it began.
    mutating func move(_ offset: Int64, to delivered: DeliveredRange) {
        let flow = Flow(delivered)
        guard let before = flows[flow]?[offset] else { return }
        flows[flow]?[offset] = Handling(
            origin: before.origin, delivery: delivered.delivery,
            attempt: max(before.attempt, Int(delivered.attempts) + 1), phase: before.phase)
    }

    mutating func end(_ offset: Int64, of delivered: DeliveredRange, _ phase: Phase) {
        flows[Flow(delivered)]?[offset]?.phase = phase
    }

    mutating func remove(_ offset: Int64, of delivered: DeliveredRange) {
        let flow = Flow(delivered)
        flows[flow]?[offset] = nil
        if flows[flow]?.isEmpty == true { flows[flow] = nil }
    }

    /// What was refused before is handled anew when it comes again.
    mutating func forget(refusedBefore time: Int64) {
        for (flow, handlings) in flows {
            let kept = handlings.filter { _, handling in
                if case .refused(_, let at) = handling.phase { at >= time } else { true }
            }
            flows[flow] = kept.isEmpty ? nil : kept
        }
    }
}

extension OngoingWork.Handling {
    /// Whether it goes on under `delivered`; if not, a handler begins anew.
    func holds(under delivered: DeliveredRange) -> Bool {
        let begun = Int(delivered.attempts)
        guard delivered.delivery.brokerStart != delivery.brokerStart else {
            // Within one start the broker knows that it began: it does not after a reset, and what was
            // begun before that does not count. What it refused was somebody else's by then, or dead.
            switch phase {
            case .running: return begun >= attempt
            case .ended: return begun == attempt
            case .refused: return false
            }
        }
        switch phase {
        case .running: return true
        // Others have begun since: theirs is the last word.
        case .ended, .refused: return begun <= attempt
        }
    }
}

extension UInt64 {
    /// Of a delivery's number: which start of the broker counted it. Each has a random number, so they
    /// are in no order.
    var brokerStart: UInt64 { self >> 32 }
}
