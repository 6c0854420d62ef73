import MartletFormat
import MartletStorage
import MartletWire

/// The answer to a fetch while it is being put together.
struct FetchAnswer: Sendable {
    /// Damaged ranges named per partition: a reader that crosses them is told of later ones later.
    private static let damagedMax = 16

    private(set) var reply = FetchReply()
    private(set) var parts: [OutboundPart] = []
    private(set) var bytes = 0
    private(set) var bytesLeft: Int
    /// Partitions to wait for, and the high watermark that was seen.
    private(set) var waiting: [(log: PartitionLog, above: Int64)] = []
    /// Why there is no answer yet: no memory for so many bytes of a partition.
    private(set) var lack: (index: Int, bytes: Int)?
    /// Up to where each partition with data is handed out, by its place in the request.
    private(set) var ends: [(index: Int, end: Int64)] = []
    /// Partitions with nothing to say; named only when no partition has anything.
    private var quiet: [FetchResult] = []
    private var bytesMin: Int
    /// An error, a gap, or more records than were taken: an answer at once.
    private var isUrgent = false

    init(_ request: FetchRequest, _ limits: BrokerLimits) {
        // With none at all nobody would get even the batch that may be larger, and ask for ever.
        bytesLeft = max(1, min(Int(request.maxBytes), limits.fetchBytesMax))
        bytesMin = min(Int(request.minBytes), bytesLeft)
    }

    /// Whether there is less than was asked for, so that it pays to wait.
    var mustWait: Bool { !isUrgent && bytes < bytesMin && !waiting.isEmpty }

    mutating func limitBytes(_ limit: Int) {
        bytesLeft = min(bytesLeft, limit)
        bytesMin = min(bytesMin, bytesLeft)
    }

    mutating func add(_ index: Int, _ plan: ReadPlan, _ part: OutboundPart, _ log: PartitionLog) {
        var result = result(index, plan.view)
        result.startChecksum = plan.startChecksum
        result.endChecksum = plan.endChecksum
        result.gaps = plan.gaps.map { OffsetRange($0.lowerBound, $0.upperBound) }
        result.recordsLength = UInt32(clamping: plan.length)
        reply.partitions.append(result)
        parts.append(part)
        ends.append((index, plan.nextOffset))
        bytes += plan.length
        bytesLeft -= plan.length
        waiting.append((log, plan.view.highWatermark))
        // There is more, and waiting would not bring it into this answer.
        if plan.nextOffset < plan.view.highWatermark { isUrgent = true }
    }

    /// Adds what is not data.
    mutating func add(
        _ index: Int, _ outcome: ReadOutcome, _ log: PartitionLog, at offset: Int64
    ) {
        switch outcome {
        // Compaction took the rest: the reader learns at once that it stands at the end.
        case .atEnd(let view) where offset < view.highWatermark:
            answer(result(index, view))
        case .atEnd(let view):
            quiet.append(result(index, view))
            waiting.append((log, view.highWatermark))
        case .gap(let gap, let view):
            var result = result(index, view)
            result.gaps = [OffsetRange(gap.lowerBound, gap.upperBound)]
            answer(result)
        case .outOfRange(let view):
            answer(result(index, view, .offsetOutOfRange))
        case .lost(let gap, let view):
            var result = result(index, view, .offsetsLost)
            result.gaps = [OffsetRange(gap.lowerBound, gap.upperBound)]
            answer(result)
        case .corrupt(let ranges, let view):
            var result = result(index, view, .corruptMessage)
            result.damaged = ranges.prefix(Self.damagedMax).map {
                OffsetRange($0.lowerBound, $0.upperBound)
            }
            answer(result)
        case .offline(let reason):
            let (code, text) = StorageErrors.offline(reason)
            add(index, TopicCatalog.Refusal(code, text))
        case .needsDisk, .needsVerification, .data:
            // The log changed under the reader; the client asks again.
            add(index, TopicCatalog.Refusal(.loading))
        }
    }

    mutating func add(_ index: Int, _ refusal: TopicCatalog.Refusal) {
        var result = FetchResult()
        result.index = UInt32(clamping: index)
        result.error = refusal.code
        result.message = WireLimits.clip(refusal.text)
        answer(result)
    }

    /// There is no memory for `bytes` of this partition: what was found before it is the answer.
    mutating func add(_ index: Int, lacking bytes: Int) {
        bytesLeft = 0
        if reply.partitions.isEmpty { lack = (index, bytes) } else { isUrgent = true }
    }

    /// The reply as it is sent: all partitions when none has anything.
    consuming func finished() -> (reply: FetchReply, parts: [OutboundPart]) {
        if reply.partitions.isEmpty { reply.partitions = quiet }
        return (reply, parts)
    }

    private mutating func answer(_ result: FetchResult) {
        reply.partitions.append(result)
        isUrgent = true
    }

    private func result(
        _ index: Int, _ view: LogView, _ error: ErrorCode = .none
    ) -> FetchResult {
        var result = FetchResult()
        result.index = UInt32(clamping: index)
        result.error = error
        result.message = error == .none ? "" : error.text
        result.highWatermark = view.highWatermark
        result.logStart = view.logStart
        return result
    }
}
