import MartletFormat
import MartletStorage
import MartletSystem
import MartletWire

/// Gives producer ids and epochs, bound to the principal of the connection.
struct ProducerHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func initProducer(_ request: Request<InitProducerRequest>) {
        let id = request.message.producerID
        let principal = request.session.principal
        var record = ProducerRecord(.registered, producerID: -1, epoch: 0, principal: principal)
        if id >= 0 {
            do throws(TopicCatalog.Refusal) {
                let epoch = try services.producers.takeNextEpoch(
                    of: id, after: request.message.producerEpoch, principal: principal)
                record = ProducerRecord(.epoch, producerID: id, epoch: epoch, principal: principal)
            } catch {
                return request.reply(error.code, error.text)
            }
        }
        do throws(WireError) {
            let batch = try InternalBatch.encode(
                [record], time: services.clock.wallMilliseconds())
            ProducerRegistration(request, record, batch, services.producers).append()
        } catch {
            request.reply(.internalError, error.description)
        }
    }
}

/// One registration on its way to the disk.
// Sendable: confined to the connection's loop; what other threads call only posts to it.
private final class ProducerRegistration: DurabilityWaiter, AppendRetry, @unchecked Sendable {
    private let request: Request<InitProducerRequest>
    private let record: ProducerRecord
    private let batch: (slab: ByteSlab, header: RecordBatchHeader)
    private let registry: ProducerRegistry
    private var offset: Int64 = -1

    init(
        _ request: Request<InitProducerRequest>, _ record: ProducerRecord,
        _ batch: (slab: ByteSlab, header: RecordBatchHeader), _ registry: ProducerRegistry
    ) {
        self.request = request
        self.record = record
        self.batch = batch
        self.registry = registry
    }

    func append() {
        let (slab, header) = batch
        switch registry.log.append(slab, 0..<slab.count, header, retry: self) {
        case .appended(let receipt), .duplicate(let receipt):
            offset = receipt.baseOffset
            registry.log.whenDurable(receipt.endOffset, self)
        case .refused(let refusal):
            let (code, text) = StorageErrors.refusal(refusal)
            fail(code, text)
        case .later:
            break  // `retryAppend` comes.
        }
    }

    func retryAppend(_ log: PartitionLog) {
        request.connection.loop.post(.run { self.append() })
    }

    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) {
        request.connection.loop.post(.run { self.finish(failure) })
    }

    private func finish(_ failure: StorageError?) {
        if let failure { return fail(StorageErrors.code(failure), failure.message) }
        registry.apply(record, at: offset)
        var reply = InitProducerReply()
        reply.producerID = record.producerID >= 0 ? record.producerID : offset
        reply.producerEpoch = record.epoch
        request.reply(reply)
    }

    private func fail(_ code: ErrorCode, _ text: String) {
        if record.producerID >= 0 { registry.takeBack(record.epoch, of: record.producerID) }
        request.reply(code, text)
    }
}
