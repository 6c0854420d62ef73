import MartletFormat
import MartletWire

/// What a member of a group says to the broker and hears of it, for a proof that writes it down.
///
/// What is said is traced before it leaves, what is heard when it came: so the broker's own moment
/// lies between the two, and histories of several processes can be held against each other.
package enum MemberTrace: Sendable {
    /// A partition under one epoch.
    package struct Part: Sendable {
        package let partition: Int32
        package let epoch: Int32
    }

    package enum Outcome: Sendable {
        case taken
        case refused(MartletErrorCode)
    }

    /// What is said of records of a queue.
    package enum Verb: String, Sendable {
        case done
        case again
        case extend
        case begin
        case failed
    }

    /// Of one delivery of a queue.
    package struct Delivered: Sendable {
        package let partition: Int32
        /// 0: the flow; 1: what was sent again.
        package let lane: UInt8
        package let number: UInt64
        package let range: Range<Int64>
    }

    case joining(member: String)
    /// A join or heartbeat was answered that had left at `asked`, on the clock that goes on while
    /// the machine sleeps.
    case heard(member: String, asked: Int64)
    /// `offset` is below 0 when nothing is committed there.
    case assigned(member: String, Part, offset: Int64, finished: [Range<Int64>])
    case releasing(member: String, Part)
    case leaving(member: String)
    /// `number` counts the commits of this process; each has one entry for each partition at most.
    case committing(number: Int, Part, offset: Int64, finished: [Range<Int64>])
    case committed(number: Int, Part, Outcome)
    /// Of a receive that had left at `asked`.
    case delivered(Delivered, asked: Int64)
    case settling(number: Int, Delivered, Verb)
    case settled(number: Int, Delivered, Verb, Outcome)
}

/// Is called on the member's own thread.
package typealias MemberTracer = @Sendable (MemberTrace) -> Void

extension OwnedKey {
    var part: MemberTrace.Part { MemberTrace.Part(partition: name.partition, epoch: epoch) }
}

extension ConsumedRecord {
    /// The epoch under which a group's member has the record's partition.
    package var memberEpoch: Int32? { run.delivery?.key.epoch }
}

extension GroupCore {
    func traceSent(_ entries: [CommitLine.Entry], _ number: Int) {
        guard configuration.trace != nil else { return }
        for (key, position) in entries {
            trace(
                .committing(
                    number: number, key.part, offset: position.offset,
                    finished: position.finished))
        }
    }

    /// Also of a commit whose answer does not count for the member any more.
    func traceAnswered(_ entries: [CommitLine.Entry], _ number: Int, _ outcome: ReplyOutcome) {
        guard configuration.trace != nil, case .frame(let frame) = outcome,
            let reply = try? frame.decode(CommitOffsetsReply.self).message,
            reply.error == .none, reply.results.count == entries.count
        else { return }
        for (entry, result) in zip(entries, reply.results) {
            trace(
                .committed(
                    number: number, entry.key.part, MemberTrace.Outcome(result)))
        }
    }
}

extension AdminClient {
    /// Commits in the name of a member, as one does that has not heard of what it lost.
    package func commit(
        _ group: String, as member: String, _ topic: String, _ part: MemberTrace.Part,
        offset: Int64
    ) async throws -> MemberTrace.Outcome {
        var entry = CommitEntry()
        entry.owned = OwnedPartition(
            topic: try await metadata(topic).id, partition: part.partition, epoch: part.epoch)
        entry.position.offset = offset
        var request = CommitOffsetsRequest()
        request.group = group
        request.member = TopicID(member) ?? .zero
        request.entries = [entry]
        let reply = try await port.call(request, isRepeatable: true, facts: ["group": group])
        guard reply.error == .none, let result = reply.results.first else {
            return .refused(MartletErrorCode(reply.error))
        }
        return MemberTrace.Outcome(result)
    }
}

extension MemberTrace.Outcome {
    init(_ result: CommitResult) {
        self =
            result.error == .none
            ? .taken : .refused(MartletErrorCode(result.error))
    }
}

extension MemberTrace.Delivered {
    init(_ delivered: DeliveredRange, _ range: Range<Int64>? = nil) {
        partition = delivered.partition
        lane = delivered.lane
        number = delivered.delivery
        self.range = range ?? delivered.range.range ?? 0..<0
    }

    init(_ saying: QueueLedger.Saying) {
        self.init(saying.delivered, saying.range)
    }
}

extension MemberTrace.Verb {
    init(_ verb: QueueLedger.Verb) {
        switch verb {
        case .done: self = .done
        case .again: self = .again
        case .extend: self = .extend
        case .begin: self = .begin
        case .failed: self = .failed
        }
    }
}
