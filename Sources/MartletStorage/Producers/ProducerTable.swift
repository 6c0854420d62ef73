import MartletFormat

/// A batch that a producer wrote, as the window of duplicates remembers it.
struct ProducedBatch: Equatable, Sendable {
    var baseSequence: Int32
    var lastSequence: Int32
    var baseOffset: Int64
    var nextOffset: Int64
    var leaderEpoch: Int32
}

/// What a partition knows of one idempotent producer.
struct ProducerState: Equatable, Sendable {
    /// How many batches back a retry is still recognised (Kafka's `NUM_BATCHES_TO_RETAIN`).
    static let windowCount = 5

    var epoch: Int16
    /// Oldest first, at most `windowCount`, all of `epoch`.
    var batches: [ProducedBatch]
    /// Append time of the newest batch, ms.
    var lastAppendTime: Int64
}

/// The last batches of every idempotent producer of a partition: what makes a retry answer
/// *success with the original offset* instead of a second copy.
struct ProducerTable: Equatable, Sendable {
    enum Verdict: Equatable {
        case accept
        case duplicate(ProducedBatch)
        case outOfOrder(expected: Int32)
        /// The batch is older than the window.
        case tooOld
        case unknownProducer
        case staleEpoch(current: Int16)
    }

    var producers: [Int64: ProducerState] = [:]
    /// More are not remembered: those that have been silent for longest go.
    var limit = LogLimits.producersMax

    /// Judges a batch; changes nothing.
    func judge(_ header: RecordBatchHeader) -> Verdict {
        guard header.producerID >= 0 else { return .accept }
        guard let state = producers[header.producerID], let newest = state.batches.last else {
            return header.baseSequence == 0 ? .accept : .unknownProducer
        }
        if header.producerEpoch < state.epoch { return .staleEpoch(current: state.epoch) }
        if header.producerEpoch > state.epoch {
            return header.baseSequence == 0 ? .accept : .outOfOrder(expected: 0)
        }
        let last = Self.lastSequence(header)
        let match = state.batches.first {
            $0.baseSequence == header.baseSequence && $0.lastSequence == last
        }
        if let match { return .duplicate(match) }
        let expected = Self.advance(newest.lastSequence, by: 1)
        if header.baseSequence == expected { return .accept }
        // Sequences wrap, so "older" is the nearer half of the circle behind the expected one.
        let ahead = header.baseSequence &- expected
        let distance = ahead < 0 ? Int64(ahead) + Int64(Int32.max) + 1 : Int64(ahead)
        return distance > Int64(Int32.max) / 2 ? .tooOld : .outOfOrder(expected: expected)
    }

    /// Takes over a batch that is in the log.
    mutating func record(_ header: RecordBatchHeader, appendTime: Int64) {
        guard header.producerID >= 0 else { return }
        var state =
            producers[header.producerID]
            ?? ProducerState(epoch: header.producerEpoch, batches: [], lastAppendTime: appendTime)
        if state.epoch != header.producerEpoch {
            state.epoch = header.producerEpoch
            state.batches.removeAll(keepingCapacity: true)
        }
        if state.batches.count == ProducerState.windowCount { state.batches.removeFirst() }
        state.batches.append(
            ProducedBatch(
                baseSequence: header.baseSequence, lastSequence: Self.lastSequence(header),
                baseOffset: header.baseOffset, nextOffset: header.nextOffset,
                leaderEpoch: header.leaderEpoch))
        state.lastAppendTime = max(state.lastAppendTime, appendTime)
        producers[header.producerID] = state
        forgetOldest()
    }

    /// An eighth at a time, for it looks at all of them.
    private mutating func forgetOldest() {
        guard producers.count > limit else { return }
        let ages = producers.values.map(Self.age).sorted(by: <)
        let first = ages[ages.count - (limit - limit / 8)]
        producers = producers.filter { Self.age($0.value) >= first }
    }

    /// Replayed batches have one time; their offsets tell which came first.
    private static func age(_ state: ProducerState) -> (time: Int64, offset: Int64) {
        (state.lastAppendTime, state.batches.last?.baseOffset ?? -1)
    }

    /// Drops producers that have been silent since before `time`.
    mutating func expire(before time: Int64) {
        guard producers.values.contains(where: { $0.lastAppendTime < time }) else { return }
        producers = producers.filter { $0.value.lastAppendTime >= time }
    }

    private static func lastSequence(_ header: RecordBatchHeader) -> Int32 {
        advance(header.baseSequence, by: max(0, header.lastOffsetDelta))
    }

    /// Sequences run 0 … Int32.max and then begin at 0 again.
    static func advance(_ sequence: Int32, by count: Int32) -> Int32 {
        let sum = Int64(sequence) + Int64(count)
        return Int32(truncatingIfNeeded: sum % (Int64(Int32.max) + 1))
    }
}
