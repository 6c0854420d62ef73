import MartletFormat
import Synchronization

/// Something that recovery did or found.
package struct RecoveryEvent: Sendable {
    package enum Kind: String, Sendable {
        /// Bytes behind the last whole batch were cut off (a copy is kept when they were not zeros).
        case tornTail = "torn-tail"
        /// Batches above the last mark were found whole and kept.
        case keptAboveMark = "kept-above-mark"
        /// Bytes below a mark are not what was written.
        case damage = "damage"
        /// The oldest log files are gone although nothing says that their records were deleted.
        case removed = "removed"
        /// Offsets that a `written` topic may have lost and will never give again.
        case gap = "gap"
        /// No space for what the start had to write: served to readers, nothing is appended.
        case readOnly = "read-only"
        /// A topic or partition cannot be served.
        case offline = "offline"
        /// A file or directory that is not ours, left alone.
        case stranger = "stranger"
        /// Something unfinished was put right: a half-made topic, a half-swapped segment.
        case tidied = "tidied"
        case marks = "marks"
    }

    package let topic: String
    package let partition: Int32
    package let kind: Kind
    package let from: Int64
    package let to: Int64
    package let bytes: Int64
    package let detail: String

    init(
        _ kind: Kind, topic: String = "", partition: Int32 = -1, from: Int64 = -1, to: Int64 = -1,
        bytes: Int64 = 0, detail: String
    ) {
        self.kind = kind
        self.topic = topic
        self.partition = partition
        self.from = from
        self.to = to
        self.bytes = bytes
        self.detail = detail
    }
}

/// What the start of storage found; `martlet doctor` shows it.
package struct StartReport: Sendable {
    package var isClean = true
    package var leaderEpoch: Int32 = 0
    package var milliseconds: Int64 = 0
    package var events: [RecoveryEvent] = []
}
