import MartletFormat
import MartletSystem

/// The side of a partition that appends, under the append lock.
struct Appender {
    /// The files that are written, once they are open.
    struct Files {
        let log: any File
        /// nil when it could not be opened: then it is rebuilt some day.
        let index: (any File)?
        var tracker: IndexTracker
        /// The file holds zeros from the log's end up to here (or ends before).
        var aheadEnd: Int64
    }

    /// The next segment's files, made ahead of the roll.
    struct Prepared {
        let log: CachedFile
        let logFile: any File
        let index: CachedFile
        let indexFile: any File
    }

    /// Producers are refused until then, instead of asking for more at once.
    struct Shortage {
        let until: Int64
        let reason: String
    }

    var settings: TopicSettings
    /// The open segment.
    var segment: Segment
    /// The state of the log behind the last batch of the open segment.
    var tail: IndexEntry
    var leaderEpoch: Int32
    /// Append time of the open segment's first batch, ms; nil while it is empty.
    var segmentStart: Int64?
    /// nil while the partition is cold: nothing was appended since it was opened.
    var files: Files?
    var prepared: Prepared?
    /// The prepared files were let go: they are on disk, empty, and only to be opened again.
    var hasClosedPrepared = false
    var producers = ProducerTable()
    var hasProducers = false
    /// nil: not read from the log yet.
    var messageIDs: MessageIDWindow?
    /// There was no room for the window's ids: not tried again before this, monotonic ns.
    var messageIDsRestUntil: Int64?
    /// A `written` topic must not give offsets from here on; `Int64.max` on a durable one.
    var reservedUntil: Int64 = .max
    /// Offset of the newest producers' snapshot.
    var snapshotOffset: Int64 = 0
    var snapshotBytes: Int64 = 0
    /// Offsets of producers' snapshots that are on disk: the newest below the durable end, and any
    /// above it, which a power cut makes worthless.
    var keptOffsets: [Int64] = []
    var lastAppend: Int64 = 0
    /// Compaction has left one record of each key below.
    var compactedTo: Int64 = 0
    /// A run failed: none is tried before segments above are closed.
    var compactionRestsTo: Int64 = 0
    /// Small appends since the last look at the space written ahead.
    var smallFlushes = 0
    /// What the start had no space for, and must be done before anything is appended; nil: nothing.
    var readOnly: String?
    /// Segments whose files are longer than their batches, for want of space for a copy.
    var uncut: [Segment] = []
    /// No descriptor was free for what an append needs.
    var shortage: Shortage?
    /// The pool of open files wants the files as soon as nothing is under way.
    var isToLetGo = false

    // One job of each kind at a time.
    var isWarming = false
    var isPreparing = false
    var isReserving = false
    var isExtending = false
    /// The space written ahead is given back: nothing is written meanwhile.
    var isCutting = false

    private(set) var waiting: [any AppendRetry] = []

    /// Whether duplicates can be told, as far as the topic wants them to be.
    var hasMessageIDs: Bool {
        settings.deduplicationWindowMilliseconds == 0 || messageIDs != nil
    }

    /// Forgets the snapshots before the newest that no power cut can make worthless.
    mutating func forgetKept(below durable: Int64) {
        while keptOffsets.count > 1, keptOffsets[1] <= durable { keptOffsets.removeFirst() }
    }

    mutating func wait(_ retry: any AppendRetry) { waiting.append(retry) }

    mutating func takeWaiting() -> [any AppendRetry] {
        defer { waiting = [] }
        return waiting
    }
}

/// What an append leaves to do once the locks are released.
struct AppendEffects {
    enum Job {
        case warmUp
        case prepare
        case reserve
    }

    var job: Job?
    var asksForFlush = false
    var woken: [any AdvanceWaiter] = []
}
