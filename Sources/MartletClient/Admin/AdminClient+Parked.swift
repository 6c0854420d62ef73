import MartletFormat
import MartletWire

/// A record of a group that is set aside until somebody releases it.
public struct ParkedRecord: Sendable, Equatable {
    /// The partition where it lies. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// Its offset there.
    public let offset: Int64
    /// Since when, in milliseconds since 1970.
    public let parkedAt: Int64
    /// Whether all later records of its key wait behind it.
    public let parksKey: Bool
    /// Handlers that began with it.
    public let attempts: Int
    /// Which kind of failure, of the handler that had it last; empty: not known.
    public let failure: String
    /// What that handler said.
    public let text: String
}

extension AdminClient {
    /// The parked records of a group, in order of their places.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - limit: so many at most; nil: all of them.
    /// - Returns: one entry per record.
    /// - Throws: `UNKNOWN_GROUP`.
    public func parkedRecords(of group: String, limit: Int? = nil) async throws -> [ParkedRecord] {
        var lines: [ParkedRecordLine] = []
        var request = ListParkedRequest()
        request.group = group
        var left = limit ?? .max
        while left > 0 {
            request.max = UInt32(clamping: min(left, WireLimits.lettersMax))
            let reply = try await port.call(request, isRepeatable: true, facts: ["group": group])
            lines += reply.records.prefix(left)
            left -= min(left, reply.records.count)
            guard reply.hasMore, let last = reply.records.last else { break }
            (request.topic, request.partition) = (last.topic, last.partition)
            request.offset = last.offset
        }
        let names = try await topicNames(Set(lines.map(\.topic)))
        return lines.map { ParkedRecord($0, topic: names[$0.topic] ?? "") }
    }

    /// Hands parked records out again, each in its turn and as if nobody had tried it.
    ///
    /// - Parameters:
    ///   - records: partitions and offsets, as they are listed.
    ///   - group: its name.
    /// - Returns: those that were refused, by their places, with `NOT_PARKED`. Empty: all are with
    ///   the group again.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`. They are released by the thousand: when it throws, a
    ///   part may be released.
    @discardableResult
    public func releaseParked(
        _ records: [TopicPartition: [Int64]], of group: String
    ) async throws -> [TopicPartition: [Int64: MartletError]] {
        let ids = try await topicIDs(records.keys.map(\.topic))
        let places = records.sorted { $0.key < $1.key }
            .flatMap { partition, offsets in offsets.sorted().map { (partition, $0) } }
        var refused: [TopicPartition: [Int64: MartletError]] = [:]
        for first in stride(from: 0, to: places.count, by: WireLimits.lettersMax) {
            let part = places[first..<min(first + WireLimits.lettersMax, places.count)]
            var request = ReleaseParkedRequest()
            request.group = group
            request.places = part.map { partition, offset in
                var place = ParkedPlace()
                place.topic = ids[partition.topic] ?? .zero
                (place.partition, place.offset) = (partition.partition, offset)
                return place
            }
            let reply = try await port.call(request, isRepeatable: false, facts: ["group": group])
            guard reply.results.count == part.count else {
                throw MartletError.protocolError("The reply has another length than its request.")
            }
            for ((partition, offset), result) in zip(part, reply.results)
            where result.error != .none {
                refused[partition, default: [:]][offset] = MartletError(
                    result.error, result.message,
                    context: ["group": group, "offset": "\(offset)"])
            }
        }
        return refused
    }

    /// Hands all parked records of a group out again.
    ///
    /// - Parameter group: its name.
    /// - Returns: how many those are.
    /// - Throws: `UNKNOWN_GROUP`.
    @discardableResult
    public func releaseAllParked(of group: String) async throws -> Int {
        var request = ReleaseParkedRequest()
        request.group = group
        request.releasesAll = true
        let reply = try await port.call(request, isRepeatable: false, facts: ["group": group])
        return Int(reply.released)
    }
}

extension ParkedRecord {
    fileprivate init(_ line: ParkedRecordLine, topic: String) {
        self.init(
            partition: TopicPartition(topic, line.partition), offset: line.offset,
            parkedAt: line.parkedAt, parksKey: line.isKey, attempts: Int(line.attempts),
            failure: line.failure, text: line.text)
    }
}
