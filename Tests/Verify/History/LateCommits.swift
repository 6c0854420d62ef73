import MartletClient
import MartletJSON
import Synchronization

/// Commits once more for partitions that were given up, as a member does that was slow to hear of
/// it: none of that may count.
final class LateCommits: Sendable {
    private struct Part: Hashable {
        let partition: Int32
        let epoch: Int32

        init(_ part: MemberTrace.Part) { (partition, epoch) = (part.partition, part.epoch) }
    }

    private struct State {
        /// How far it committed what it has.
        var offsets: [Part: Int64] = [:]
        /// Numbers of their own beside those of the member.
        var number = 1 << 32
    }

    private let history: HistoryWriter
    private let admin: AdminClient
    private let state = Mutex(State())

    init(_ history: HistoryWriter, _ admin: AdminClient) {
        self.history = history
        self.admin = admin
    }

    func hear(_ event: MemberTrace) {
        switch event {
        case .assigned(_, let part, let offset, _):
            state.withLock { $0.offsets[Part(part)] = max(0, offset) }
        case .committing(_, let part, let offset, _):
            state.withLock { $0.offsets[Part(part)] = offset }
        case .releasing(let member, let part):
            // It may be said several times.
            guard let offset = state.withLock({ $0.offsets.removeValue(forKey: Part(part)) }) else {
                return
            }
            Task { try await commit(member, part, offset) }
        case .joining, .heard, .leaving, .committed, .delivered, .settling, .settled: break
        }
    }

    private func commit(_ member: String, _ part: MemberTrace.Part, _ offset: Int64) async throws {
        // Until another member has it.
        try await Task.sleep(for: .milliseconds(300))
        let number = state.withLock { state in
            state.number += 1
            return state.number
        }
        history.write(.committing(number: number, part, offset: offset, finished: []))
        let outcome = try await admin.commit(
            HistoryWorker.streamGroup, as: member, HistoryWorker.topic, part, offset: offset)
        history.write(.committed(number: number, part, outcome))
    }
}
