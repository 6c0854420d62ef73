import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import MartletWire

/// Reads records as dead letters keep them.
struct DeadRecordReader: Sendable {
    let engine: StorageEngine
    let pool: SlabPool
    let logger: Logger

    /// Records at these places, in their order, until they take so many bytes: one at least, and all
    /// that it says nothing of are left. Those of one batch that follow each other in it are read
    /// together: a handler that fails fails all of a batch, and that may be large. Blocks.
    func contents(
        of places: [RecordPlace], bytesMax: Int
    ) -> (contents: Coordinator.DeadContents, bytes: Int) {
        var contents: Coordinator.DeadContents = [:]
        var bytes = 0
        var rest = places[...]
        while let first = rest.first, contents.isEmpty || bytes < bytesMax {
            var read = together(rest, bytesMax: bytesMax - bytes)
            // By itself it has an answer of its own.
            if read[first] == nil { read[first] = content(of: first) }
            while let next = rest.first, let content = read[next] {
                if case .record(let body, _) = content, contents[next] == nil {
                    bytes += body.count
                }
                contents[next] = content
                rest.removeFirst()
            }
        }
        return (contents, bytes)
    }

    /// The record as a dead letter keeps it. Blocks.
    func content(of place: RecordPlace) -> Coordinator.DeadContent {
        guard let topic = engine.topic(id: place.partition.topic) else { return .gone }
        guard let log = topic.partition(place.partition.partition) else { return .unreadable }
        do throws(StorageError) {
            let record = try record(log, topic.name, at: place.offset)
            return record.map { Self.content($0, of: topic) } ?? .gone
        } catch {
            logger.warning(
                "DEAD_LETTER_UNREADABLE",
                "a record that nobody can handle cannot be read either: it waits",
                [
                    ("topic", LogValue(topic.name)), ("offset", LogValue(place.offset)),
                    ("reason", LogValue(error.message)),
                ])
            return .unreadable
        }
    }

    private static func content(_ record: DeadRecord, of topic: Topic) -> Coordinator.DeadContent {
        var record = record
        var first: HandlerFailure?
        if topic.name.hasSuffix(Coordinator.reservedSuffix) {
            first = DeadLetterNote.firstFailure(record)
            if record.headers.last?.key == DeadLetterNote.header { record.headers.removeLast() }
        }
        return record.body.map { .record($0, first: first) } ?? .unreadable
    }

    /// nil: it is not there any more.
    private func record(
        _ log: PartitionLog, _ name: String, at offset: Int64
    ) throws(StorageError) -> DeadRecord? {
        var found: DeadRecord?
        var isDamaged = false
        let reader = InternalLog(log: log, name: name, pool: pool) { _ in isDamaged = true }
        try reader.readRecords(from: offset, bytes: 1) { place throws(WireError) in
            if place.offset == offset { found = try DeadRecord(reading: place) }
            return false
        }
        if found == nil, isDamaged { throw StorageError(.corrupt, "offset \(offset) is damaged") }
        return found
    }

    /// What is whole of those that follow in the batch of the first one. Nothing, when that is not
    /// there, or anything is wrong.
    private func together(
        _ places: ArraySlice<RecordPlace>, bytesMax: Int
    ) -> Coordinator.DeadContents {
        guard let first = places.first, let topic = engine.topic(id: first.partition.topic),
            let log = topic.partition(first.partition.partition)
        else { return [:] }
        var found: Coordinator.DeadContents = [:]
        var bytes = 0
        var rest = places
        let reader = InternalLog(log: log, name: topic.name, pool: pool) { _ in }
        do throws(StorageError) {
            try reader.readRecords(from: first.offset, bytes: 1) { place throws(WireError) in
                guard let next = rest.first else { return false }
                if next.offset == place.offset {
                    let content = Self.content(try DeadRecord(reading: place), of: topic)
                    if case .record(let body, _) = content { bytes += body.count }
                    found[next] = content
                    rest.removeFirst()
                }
                guard bytes < bytesMax, let next = rest.first else { return false }
                return next.queue == first.queue && next.offset > place.offset
                    && next.offset <= place.header.lastOffset
            }
        } catch {
            return [:]
        }
        return found
    }
}
