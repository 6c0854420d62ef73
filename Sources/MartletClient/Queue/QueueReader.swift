import MartletFormat
import MartletSystem
import MartletWire

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
    /// broker's own check.
    func read(
        _ delivered: DeliveredRange, from offset: Int64, _ topic: TopicMetadata
    ) async throws -> Part {
        do {
            return try part(
                try await fetch(delivered, offset, verify: false), delivered, offset, topic)
        } catch let error as MartletError where error.code == .corruptMessage {
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
                throw MartletError.corrupt(
                    name, offset..<(offset + 1), "the batch of this offset is missing")
            }
            return Part(batch: nil, end: result.highWatermark)
        }
        var scan = RunScan(expected: offset, isCompacted: topic.compacted, result: result)
        let slab = lease.slab
        do {
            try scan.run(slab.span(answer.range))
            try checkSums(slab, answer.range)
        } catch {
            throw MartletError.corrupt(name, offset..<(offset + 1), "\(error)")
        }
        let run = FetchedRun(
            partition: name, lease: lease, range: answer.range, from: offset,
            nextOffset: scan.expected, highWatermark: result.highWatermark, shelf: nil)
        return Part(batch: ConsumerBatch(run: run), end: scan.expected)
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
        throw MartletError(result.error, result.message, context: name.context)
    }

    private func checkSums(_ slab: ByteSlab, _ range: Range<Int>) throws {
        var position = range.lowerBound
        while position < range.upperBound {
            let header = try RecordBatchHeader(reading: slab.bytes, at: position)
            try RecordBatch.checkChecksum(
                slab.span(position..<(position + header.byteCount)), header)
            position += header.byteCount
        }
    }
}
