import MartletFormat
import MartletGroups
import MartletWire

/// A settlement under way. With records that become dead letters by it, it is taken in pieces, so
/// that no more of them are in memory at once than a piece may have.
// Sendable: `next` and `results` are touched by one piece after the other, under the shard's lock or
// on the clerk's queue.
final class Settling: @unchecked Sendable {
    private let request: Request<SettleRequest>
    private let settlements: [Coordinator.Settlement]
    private let handled: HandlerTimesByType
    private let shard: GroupShard
    private let clerk: DeadLetterClerk
    private var next = 0
    private var results: [CommitResult] = []

    init(
        _ request: Request<SettleRequest>, _ settlements: [Coordinator.Settlement],
        _ handled: HandlerTimesByType, _ shard: GroupShard, _ clerk: DeadLetterClerk
    ) {
        self.request = request
        self.settlements = settlements
        self.handled = handled
        self.shard = shard
        self.clerk = clerk
    }

    /// Nothing has to be read for it.
    func takeAll() {
        next = settlements.count
        take(settlements, [:], bytes: 0)
    }

    func takeInPieces() {
        clerk.execute { self.takePiece() }
    }

    /// Of records to be kept, in one piece. One is taken always.
    private static let pieceBytes = 1 << 20

    private func takePiece() {
        let rest = settlements[next...]
        let dying = shard.dying(request.message.group, Array(rest))
        let (contents, bytes) = clerk.reader.contents(of: dying, bytesMax: Self.pieceBytes)
        // The first one whose record was not read, and what comes behind it, is for another piece.
        let unread = Set(dying).subtracting(contents.keys)
        let readable = rest.prefix { $0.verb.failure == nil || !unread.contains($0.place) }
        let piece = rest.prefix(max(1, readable.count))
        next = piece.endIndex
        take(Array(piece), contents, bytes: bytes)
    }

    private func take(
        _ piece: [Coordinator.Settlement], _ contents: Coordinator.DeadContents, bytes: Int
    ) {
        let group = request.message.group
        let refusals = Carried<[Int: GroupRefusal]>([:])
        shard.run(request, heldBytes: bytes) { coordinator, now throws(GroupRefusal) in
            let outcome = try coordinator.settle(group, piece, contents: contents, at: now)
            refusals.value = outcome.refusals
            return outcome.records
        } _: { state, now throws(GroupRefusal) in
            let taken = piece.indices.filter { refusals.value[$0] == nil }
            state.coordinator.follow(group, taken.map { piece[$0] }, at: now)
            self.results += piece.indices.map { CommitResult(refusals.value[$0]) }
            guard self.next == self.settlements.count else {
                self.takeInPieces()
                return nil
            }
            state.coordinator.handled(group, self.handled)
            var reply = SettleReply()
            reply.results = self.results
            return reply
        }
    }
}
