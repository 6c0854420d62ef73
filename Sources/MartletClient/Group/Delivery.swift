import MartletFormat
import Synchronization

/// A partition as a member owns it: by its topic's id, and under an epoch, so that what belongs to
/// an earlier time of owning it is never taken for the present.
struct OwnedKey: Hashable, Sendable {
    let name: TopicPartition
    let topic: TopicID
    let epoch: Int32
}

/// How far the application is with a batch that it was handed.
///
/// Moves on with each record, so it takes no lock; all else about it is the ledger's.
final class Delivery: Sendable {
    let key: OwnedKey
    let from: Int64
    /// What lies below may have ended an earlier owner: the broker is asked before its handler begins.
    let suspectBelow: Int64
    private let handed: Atomic<Int64>
    private let done: Atomic<Int64>
    private let cut = Atomic(false)
    private let damaged = Atomic(false)

    init(_ key: OwnedKey, from: Int64, suspectBelow: Int64 = 0) {
        self.key = key
        self.from = from
        self.suspectBelow = suspectBelow
        handed = Atomic(from)
        done = Atomic(from)
    }

    /// The same behind what was handed out.
    func rest(from offset: Int64) -> Delivery {
        Delivery(key, from: offset, suspectBelow: suspectBelow)
    }

    /// Records below this offset were handed out.
    var handedBelow: Int64 { handed.load(ordering: .acquiring) }

    /// Records below this offset are done with.
    var doneBelow: Int64 { done.load(ordering: .sequentiallyConsistent) }

    /// Nothing more of it may be handed out.
    var isCut: Bool { cut.load(ordering: .relaxed) }

    /// The same, for who has counted a record as done and asks before handing it out: whoever cuts
    /// the batch short either counts that record too, or it is not handed out.
    var isSurelyCut: Bool { cut.load(ordering: .sequentiallyConsistent) }

    /// Its bytes do not parse: what is left of it is not done with.
    var isDamaged: Bool { damaged.load(ordering: .relaxed) }

    /// The record is handed out; `isDone` says whether it counts as done by that.
    func hand(_ offset: Int64, isDone: Bool) {
        if isDone {
            done.store(offset + 1, ordering: .sequentiallyConsistent)
        } else {
            done.store(offset, ordering: .releasing)
        }
        handed.store(offset + 1, ordering: .releasing)
    }

    func hand(all upper: Int64, isDone: Bool) {
        if isDone { done.store(upper, ordering: .releasing) }
        handed.store(upper, ordering: .releasing)
    }

    /// All that was handed out is done with.
    func finishHanded() { done.store(handedBelow, ordering: .releasing) }

    func finish(all upper: Int64) {
        handed.store(upper, ordering: .releasing)
        done.store(upper, ordering: .releasing)
    }

    func cutShort() { cut.store(true, ordering: .sequentiallyConsistent) }

    func markDamaged() { damaged.store(true, ordering: .relaxed) }
}
