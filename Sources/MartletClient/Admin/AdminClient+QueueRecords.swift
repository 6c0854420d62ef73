import MartletFormat
import MartletWire

/// Records of a group that follow each other and are alike, and what is becoming of them.
public struct QueueRecords: Sendable, Equatable {
    /// Where a record is that is owed.
    public enum State: String, Sendable, CaseIterable {
        /// Nobody has it. In a queue in order by key also what waits behind another of its key.
        case ready
        /// A member has it.
        case inFlight = "in-flight"
        /// It comes again when its pause is over.
        case delayed
        /// It is set aside until somebody releases it.
        case parked
    }

    /// Where they lie. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// Their offsets there.
    public let offsets: Range<Int64>
    /// Whether they were sent to the group again, beside its flow.
    public let isReplay: Bool
    /// What is becoming of them.
    public let state: State
    /// Handlers that began with each.
    public let attempts: Int
    /// The member that has them (32 hexadecimal digits); nil: none, or the broker itself, which
    /// decides what becomes of them.
    public let member: String?
    /// When the lease or the delay is over, or since when they are parked, in milliseconds since
    /// 1970; nil for `ready`.
    public let at: Int64?
    /// Which kind of failure, of the handler that had it last; empty: none, or not known.
    public let failure: String
    /// What that handler said.
    public let text: String
}

extension AdminClient {
    /// The records that a queue group owes: which are ready, in flight with whom, delayed until when,
    /// or parked; and those that were sent again to any group. In order of topic ids and offsets, what
    /// follows each other and is alike in one entry. Handled, expired and dead records are not among
    /// them (`deadLetters`); nor are partitions that no member has asked for yet. Of a group at work
    /// each page is true for its own moment.
    ///
    /// - Parameters:
    ///   - group: its name.
    ///   - states: only of these.
    ///   - topic: only of this topic; nil: of all.
    ///   - limit: so many entries at most; nil: all of them.
    /// - Returns: the entries.
    /// - Throws: `UNKNOWN_GROUP`, `UNKNOWN_TOPIC`.
    public func queueRecords(
        of group: String, states: Set<QueueRecords.State> = Set(QueueRecords.State.allCases),
        topic: String? = nil, limit: Int? = nil
    ) async throws -> [QueueRecords] {
        var request = ListQueueRecordsRequest()
        request.group = group
        request.states = states.reduce(0) { $0 | 1 << $1.number }
        if states.isEmpty { return [] }
        if let topic { request.topic = try await topicIDs([topic])[topic] ?? .zero }
        var lines: [QueueRecordLine] = []
        var left = limit ?? .max
        while left > 0 {
            request.max = UInt32(clamping: min(left, WireLimits.lettersMax))
            let reply = try await port.call(request, isRepeatable: true, facts: ["group": group])
            lines += reply.records.prefix(left)
            left -= min(left, reply.records.count)
            guard reply.next.offset >= 0 else { break }
            request.from = reply.next
        }
        let names = try await topicNames(Set(lines.map(\.topic)))
        return try lines.map { try QueueRecords($0, topic: names[$0.topic] ?? "") }
    }
}

extension QueueRecords.State {
    fileprivate var number: UInt8 {
        switch self {
        case .ready: 0
        case .inFlight: 1
        case .delayed: 2
        case .parked: 3
        }
    }
}

extension QueueRecords {
    fileprivate init(_ line: QueueRecordLine, topic: String) throws {
        guard let state = State.allCases.first(where: { $0.number == line.state }),
            line.from <= line.to
        else { throw MartletError.protocolError("A list of records has unknown ones.") }
        self.init(
            partition: TopicPartition(topic, line.partition), offsets: line.from..<line.to,
            isReplay: line.lane == 1, state: state, attempts: Int(line.attempts),
            member: line.member == .zero ? nil : line.member.description,
            at: line.at < 0 ? nil : line.at, failure: line.failure, text: line.text)
    }
}
