import MartletFormat
import MartletSystem
import MartletWire

/// Records that cannot be read: not to be handed out, and not to be taken for done.
struct DamagedRecords: Error {
    let partition: TopicPartition
    /// At least one offset; it may begin below what was asked for, and end behind it.
    let range: Range<Int64>
    let reason: String

    var error: MartletError { .corrupt(partition, range, reason) }
}

/// Reads the records that were handed to a member of a queue, checked as for any consumer.
struct QueueReader: Sendable {
    let port: RequestPort

    /// Bytes of one fetch; its first batch may be larger.
    private static let bytesMax: UInt32 = 1 << 20

    /// Part of a delivery: records, and where they end.
    struct Part {
        let batch: ConsumerBatch?
        /// All up to here was read; what has no record is gone.
        let end: Int64
    }

    /// One answer to a fetch.
    struct Answer: Sendable {
        let result: FetchResult
        let records: SlabLease?
        let range: Range<Int>
    }

    func topic(_ id: TopicID) async throws -> TopicMetadata {
        var request = MetadataRequest()
        request.ids = [TopicIDItem(id)]
        return try await port.topic(request)
    }

    /// The next records at and above `offset`. What is damaged is asked for once more, with the
    /// broker's own check; throws `DamagedRecords` when it stays so.
    func read(
        _ delivered: DeliveredRange, from offset: Int64, _ topic: TopicMetadata
    ) async throws -> Part {
        do {
            return try part(
                try await fetch(delivered, offset, verify: false), delivered, offset, topic)
        } catch is DamagedRecords {
            let current = try await self.topic(delivered.topic)
            return try part(
                try await fetch(delivered, offset, verify: true), delivered, offset, current)
        }
    }

    private func fetch(
        _ delivered: DeliveredRange, _ offset: Int64, verify: Bool
    ) async throws -> Answer {
        var request = FetchRequest()
        request.maxBytes = Self.bytesMax
        request.verify = verify
        request.partitions = [
            FetchEntry(
                topic: delivered.topic, partition: delivered.partition, offset: offset,
                maxBytes: Self.bytesMax)
        ]
        return try await port.call(request, isRepeatable: true) { frame, reply, attachment in
            guard let result = reply.partitions.first else {
                throw MartletError.protocolError("The fetch reply has no partition.")
            }
            // Such as when the log changed meanwhile: asked again.
            if result.error.isRetriable { throw MartletError(result.error, result.message) }
            guard !attachment.isEmpty else {
                return Answer(result: result, records: nil, range: 0..<0)
            }
            let (lease, range) = frame.take(attachment)
            return Answer(result: result, records: lease, range: range)
        }
    }

    private func part(
        _ answer: Answer, _ delivered: DeliveredRange, _ offset: Int64, _ topic: TopicMetadata
    ) throws -> Part {
        let name = TopicPartition(topic.name, delivered.partition)
        let result = answer.result
        guard result.error == .none else { return try passed(result, offset, name) }
        guard let lease = answer.records else {
            if let crossed = Crossed.named(by: result).first(where: { $0.range.contains(offset) }) {
                return Part(batch: nil, end: crossed.range.upperBound)
            }
            guard offset < result.highWatermark, topic.compacted else {
                throw damage(at: offset, name, "the batch of this offset is missing")
            }
            return Part(batch: nil, end: result.highWatermark)
        }
        var scan = RunScan(expected: offset, isCompacted: topic.compacted, result: result)
        let slab = lease.slab
        do {
            try scan.run(slab.span(answer.range))
        } catch {
            switch error {
            case .compressed(let codec):
                throw MartletError(
                    .unsupportedCompressionType,
                    "The batch at offset \(scan.expected) has codec \(codec).",
                    context: name.context)
            case .damaged(let range, let reason):
                // What came before it is not known to be the log's, either.
                throw DamagedRecords(
                    partition: name, range: offset..<max(range.upperBound, offset + 1),
                    reason: reason)
            }
        }
        let sound = try soundPart(of: slab, answer.range, from: offset, name)
        let end = sound.end ?? scan.expected
        let run = FetchedRun(
            partition: name, lease: lease, range: sound.bytes, from: offset, nextOffset: end,
            highWatermark: result.highWatermark, shelf: nil)
        return Part(batch: ConsumerBatch(run: run), end: end)
    }

    private func damage(
        at offset: Int64, _ name: TopicPartition, _ reason: String
    ) -> DamagedRecords {
        DamagedRecords(partition: name, range: offset..<(offset + 1), reason: reason)
    }

    /// What an error says of the offset: that it is gone, or that nothing can be read.
    private func passed(
        _ result: FetchResult, _ offset: Int64, _ name: TopicPartition
    ) throws -> Part {
        if result.error == .offsetOutOfRange, result.logStart > offset {
            return Part(batch: nil, end: result.logStart)
        }
        if result.error == .offsetsLost,
            let crossed = Crossed.named(by: result).first(where: { $0.range.contains(offset) })
        {
            return Part(batch: nil, end: crossed.range.upperBound)
        }
        let error = MartletError(result.error, result.message, context: name.context)
        guard result.error == .corruptMessage else { throw error }
        let named = result.damaged.compactMap(\.range).first { $0.contains(offset) }
        throw DamagedRecords(
            partition: name, range: named ?? offset..<(offset + 1), reason: error.message)
    }

    /// The batches before the first one that cannot be read, and where that begins; nil: all can.
    /// Throws when it is the very first.
    private func soundPart(
        of slab: ByteSlab, _ range: Range<Int>, from offset: Int64, _ name: TopicPartition
    ) throws -> (bytes: Range<Int>, end: Int64?) {
        var position = range.lowerBound
        while position < range.upperBound {
            let header = try RecordBatchHeader(reading: slab.bytes, at: position)
            let batch = position..<(position + header.byteCount)
            do throws(FormatError) {
                try check(slab.span(batch), header)
            } catch {
                guard position > range.lowerBound else {
                    let damaged = min(header.baseOffset, offset)..<header.nextOffset
                    throw DamagedRecords(partition: name, range: damaged, reason: "\(error)")
                }
                return (range.lowerBound..<position, header.baseOffset)
            }
            position = batch.upperBound
        }
        return (range, nil)
    }

    /// Also of a batch whose checksum holds, all records have to be there: what is not seen counts as
    /// gone, and is acked.
    private func check(_ batch: RawSpan, _ header: RecordBatchHeader) throws(FormatError) {
        try RecordBatch.checkChecksum(batch, header)
        var cursor = RecordCursor(header)
        while try cursor.next(in: batch) != nil {}
    }
}
