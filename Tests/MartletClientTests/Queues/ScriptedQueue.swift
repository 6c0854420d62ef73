import MartletFormat
import MartletTestSupport
import MartletWire
import Synchronization

@testable import MartletClient

/// What the scripted broker hears of members of a queue, and what it says.
struct QueueScript: Sendable {
    /// What becomes of each entry of a settle.
    var onSettle: @Sendable (SettleEntry) -> ErrorCode = { _ in .none }
    var settled: [SettleEntry] = []

    /// The offsets of which this was said, and not refused.
    func offsets(verb: UInt8) -> RangeSet<Int64> {
        var offsets = RangeSet<Int64>()
        for entry in settled where entry.verb == verb {
            if let range = entry.range.range { offsets.insert(contentsOf: range) }
        }
        return offsets
    }
}

/// A queue that hands out what the test says. Confined to the broker's queue.
final class ScriptedQueue {
    var ready: [DeliveredRange] = []
    var waiting: [ScriptedGroup.Parked] = []
}

extension ScriptedBroker {
    /// Hands records of the topic's first partition to the next member that asks.
    func hand(_ name: String, _ range: Range<Int64>, delivery: UInt64, attempts: UInt32 = 0) {
        onQueue { broker in
            guard let topic = broker.topics[name] else { return }
            var delivered = DeliveredRange()
            delivered.topic = topic.id
            delivered.delivery = delivery
            delivered.range = OffsetRange(range.lowerBound, range.upperBound)
            delivered.attempts = attempts
            broker.handingOut.ready.append(delivered)
            broker.answerReceives()
        }
    }

    func receive(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard decode(ReceiveRequest.self, peer, payload) != nil else { return }
        handingOut.waiting.append(ScriptedGroup.Parked(peer: peer, header: header))
        answerReceives()
    }

    private func answerReceives() {
        guard !handingOut.ready.isEmpty, let one = handingOut.waiting.popLast() else { return }
        handingOut.waiting = []
        var answer = ReceiveReply()
        answer.delivered = handingOut.ready
        handingOut.ready = []
        reply(one.peer, one.header, answer)
    }

    func settle(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(SettleRequest.self, peer, payload) else { return }
        var answer = SettleReply()
        answer.results = script.withLock { script in
            request.entries.map { entry in
                var result = CommitResult()
                result.error = script.queue.onSettle(entry)
                if result.error == .none { script.queue.settled.append(entry) }
                return result
            }
        }
        reply(peer, header, answer)
    }

    /// Waits until this was said of these offsets, and of no others.
    func settled(_ wanted: RangeSet<Int64>, verb: UInt8 = 1) async throws {
        while script.withLock({ $0.queue.offsets(verb: verb) }) != wanted {
            try Task.checkCancellation()
            await Task.yield()
        }
    }
}
