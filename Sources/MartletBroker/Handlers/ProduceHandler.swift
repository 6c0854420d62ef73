import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// Appends the batches of a produce: all on the connection's loop, without an allocation or a hop
/// per record. The reply is sent when what the acks ask for is true.
struct ProduceHandler: Sendable {
    /// A batch that may be appended, and where.
    struct CheckedBatch {
        let log: PartitionLog
        let header: RecordBatchHeader
    }

    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func handle(
        _ frame: Frame, _ connection: Connection, _ session: Authenticated
    ) throws(WireError) -> Disposition {
        let (request, attachment) = try frame.decode(ProduceRequest.self)
        guard let acks = Acks(rawValue: request.acks) else {
            throw WireError.invalid(
                field: "acks", at: 0, reason: "\(request.acks) is none of 0, 1 and 2")
        }
        let pending = PendingProduce(
            request, acks, frame, attachment: attachment, connection, session,
            receivedAt: services.clock.monotonicNanoseconds())
        return append(pending, frame.slab, frame.payload)
    }

    /// Goes on where the storage had put a batch off.
    func resume(_ pending: PendingProduce, _ slab: ByteSlab, _ payload: Range<Int>) -> Disposition {
        append(pending, slab, payload)
    }

    private func append(
        _ pending: PendingProduce, _ slab: ByteSlab, _ payload: Range<Int>
    ) -> Disposition {
        // A request whose time ran out while it was put off is answered; it must not be written now.
        while pending.next < pending.entries.count, !pending.isSettled {
            let entry = pending.entries[pending.next]
            let length = Int(entry.recordsLength)
            let start = payload.lowerBound + pending.attachmentOffset
            // Inside the frame: the lengths were held against the attachment when it was decoded.
            let range = start..<(start + length)
            do throws(TopicCatalog.Refusal) {
                let batch =
                    if let checked = pending.checked {
                        try checkAgain(checked, pending.session)
                    } else {
                        try check(entry, slab, range, pending.session)
                    }
                guard append(batch, pending, slab, range) else { return .held(pending) }
            } catch {
                pending.refuse(error.code, error.text)
            }
            pending.attachmentOffset += length
        }
        pending.finishAppending()
        return .taken
    }

    /// False: the storage put it off.
    private func append(
        _ batch: CheckedBatch, _ pending: PendingProduce, _ slab: ByteSlab, _ range: Range<Int>
    ) -> Bool {
        switch batch.log.append(slab, range, batch.header, retry: pending) {
        case .appended(let receipt):
            services.metrics.recordsIn.add(
                Int(batch.header.recordCount) - receipt.duplicates.count)
            services.metrics.batchesIn.add()
            services.metrics.batchBytesIn.add(range.count)
            pending.accept(receipt, of: batch.log, isDuplicate: false)
        case .duplicate(let receipt):
            pending.accept(receipt, of: batch.log, isDuplicate: true)
        case .refused(let refusal):
            let (code, text) = StorageErrors.refusal(refusal)
            // Tells the producer whether a restart explains a gap in its sequence.
            let epoch = code == .outOfOrderSequence ? batch.log.view.leaderEpoch : -1
            pending.refuse(code, text, leaderEpoch: epoch)
        case .later:
            pending.checked = batch
            return false
        }
        return true
    }

    /// Everything about a batch that can be wrong before its partition looks at it.
    private func check(
        _ entry: ProduceEntry, _ slab: ByteSlab, _ range: Range<Int>, _ session: Authenticated
    ) throws(TopicCatalog.Refusal) -> CheckedBatch {
        let (topic, log) = try services.catalog.partition(
            entry.partition, of: entry.topic, for: .produce, session)
        // Before the checksum is computed over them.
        guard Int64(range.count) <= topic.settings.batchBytesMax else {
            throw .init(
                .messageTooLarge,
                "the batch has \(range.count) bytes, \(topic.name) takes "
                    + "\(topic.settings.batchBytesMax)")
        }
        let header: RecordBatchHeader
        do throws(FormatError) {
            let batch = slab.span(range)
            let claimed = try RecordBatchHeader(reading: batch)
            guard claimed.codec == 0 else {
                throw Refused.compressed
            }
            header = try RecordBatch.validateForAppend(batch)
        } catch {
            throw refusal(error)
        }
        if header.hasProducerID {
            try services.producers.check(
                header.producerID, epoch: header.producerEpoch, principal: session.principal)
        }
        return CheckedBatch(log: log, header: header)
    }

    /// While the storage put a batch off, another instance may have taken its producer over: what it
    /// was told holds for this batch, too.
    private func checkAgain(
        _ batch: CheckedBatch, _ session: Authenticated
    ) throws(TopicCatalog.Refusal) -> CheckedBatch {
        if batch.header.hasProducerID {
            try services.producers.check(
                batch.header.producerID, epoch: batch.header.producerEpoch,
                principal: session.principal)
        }
        return batch
    }

    private enum Refused {
        static let compressed = FormatError.invalid(
            field: "attributes", at: RecordBatch.crcStart, reason: "the batch is compressed")
    }

    private func refusal(_ error: FormatError) -> TopicCatalog.Refusal {
        if error == Refused.compressed { return .init(.unsupportedCompressionType) }
        switch error {
        case .checksum: return .init(.corruptMessage, error.description)
        case .truncated, .invalid: return .init(.invalidRecord, error.description)
        }
    }
}
