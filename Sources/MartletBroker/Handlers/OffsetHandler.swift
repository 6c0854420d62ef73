import MartletFormat
import MartletStorage
import MartletWire

/// Ends of partitions, offsets by time, and the two ways in which readers lose access to records:
/// delete-records and skip-damage.
struct OffsetHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func list(_ request: Request<ListOffsetsRequest>) {
        let entries = request.message.entries
        if entries.contains(where: { $0.kind == OffsetKind.time.rawValue }) {
            // Looking a time up reads segments.
            return request.answer(on: services.readers.next()) { request in
                offsets(entries, request.session)
            }
        }
        request.reply(offsets(entries, request.session))
    }

    private func offsets(
        _ entries: [ListOffsetsEntry], _ session: Authenticated
    ) -> ListOffsetsReply {
        var reply = ListOffsetsReply()
        reply.results = entries.map { entry in
            var result = ListOffsetsResult()
            do throws(TopicCatalog.Refusal) {
                let (_, log) = try services.catalog.partition(
                    entry.partition, of: entry.topic, for: .listOffsets, session)
                try fill(&result, entry, log)
            } catch {
                result.error = error.code
                result.message = WireLimits.clip(error.text)
            }
            return result
        }
        return reply
    }

    private func fill(
        _ result: inout ListOffsetsResult, _ entry: ListOffsetsEntry, _ log: PartitionLog
    ) throws(TopicCatalog.Refusal) {
        if let reason = log.offlineReason {
            let (code, text) = StorageErrors.offline(reason)
            throw TopicCatalog.Refusal(code, text)
        }
        let view = log.view
        result.leaderEpoch = view.leaderEpoch
        guard let kind = OffsetKind(rawValue: entry.kind) else {
            throw TopicCatalog.Refusal(.invalidRequest, "kind \(entry.kind) is none of 0, 1 and 2")
        }
        switch kind {
        case .earliest: result.offset = view.logStart
        case .latest: result.offset = view.highWatermark
        case .time:
            do throws(StorageError) {
                if let found = try log.offset(forTime: entry.time) {
                    result.offset = found.offset
                    result.time = found.time
                } else {
                    result.offset = log.view.highWatermark
                }
            } catch {
                throw TopicCatalog.Refusal(StorageErrors.code(error), error.message)
            }
        }
    }

    func deleteRecords(_ request: Request<DeleteRecordsRequest>) {
        request.answer(on: services.changes) { request in
            var reply = DeleteRecordsReply()
            reply.results = deleteRecords(request.message.entries, request.session)
            return reply
        }
    }

    /// All of a request together: its marks are synced once.
    private func deleteRecords(
        _ entries: [DeleteRecordsEntry], _ session: Authenticated
    ) -> [DeleteRecordsResult] {
        var results = entries.map { _ in DeleteRecordsResult() }
        var wanted: [(log: PartitionLog, before: Int64)] = []
        var places: [Int] = []
        for (place, entry) in entries.enumerated() {
            do throws(TopicCatalog.Refusal) {
                let (_, log) = try services.catalog.partition(
                    entry.partition, of: entry.topic, for: .deleteRecords, session)
                wanted.append((log, entry.before))
                places.append(place)
            } catch {
                results[place].error = error.code
                results[place].message = WireLimits.clip(error.text)
            }
        }
        for (place, outcome) in zip(places, services.engine.deleteRecords(wanted)) {
            switch outcome {
            case .success(let start): results[place].logStart = start
            case .failure(let error):
                results[place].error = StorageErrors.code(error)
                results[place].message = WireLimits.clip(error.message)
            }
        }
        return results
    }

    func skipDamage(_ request: Request<SkipDamageRequest>) {
        request.answer(on: services.changes) { request in
            let message = request.message
            do throws(TopicCatalog.Refusal) {
                _ = try services.catalog.partition(
                    message.partition, of: message.topic, for: .skipDamage, request.session)
                guard message.from < message.to else {
                    throw .init(.invalidRequest, "from must be below to")
                }
                var reply = SkipDamageReply()
                reply.skipped = try skipDamage(message).prefix(WireLimits.rangesMax).map {
                    OffsetRange($0.lowerBound, $0.upperBound)
                }
                return reply
            } catch {
                return SkipDamageReply(error: error.code, message: error.text)
            }
        }
    }

    private func skipDamage(
        _ message: SkipDamageRequest
    ) throws(TopicCatalog.Refusal) -> [Range<Int64>] {
        do throws(StorageError) {
            return try services.engine.skipDamage(
                message.topic, partition: message.partition, from: message.from, to: message.to,
                execute: message.execute)
        } catch {
            throw TopicCatalog.Refusal(StorageErrors.code(error), error.message)
        }
    }
}
