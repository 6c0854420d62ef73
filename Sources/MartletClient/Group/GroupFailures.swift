import MartletSystem
import MartletWire

/// What becomes of a record of a stream group whose handler throws.
public enum GroupFailureHandling: Sendable, Equatable {
    /// The call ends with the error, and the record comes again to who reads the partition next.
    case end
    /// The group's policy decides (`FailurePolicy`; the broker holds it and counts): the handler is
    /// called again after a pause, and nothing that must come behind the record is handled
    /// meanwhile; when the policy has enough, the record becomes a dead letter and the group goes
    /// on behind it, or the group stands still in the partition until somebody resumes it. After a
    /// `PermanentFailure` no attempt follows. Not with `CommitPolicy.beforeProcessing`, which never
    /// calls a handler twice.
    case byPolicy
}

/// Says to the broker that handlers failed, on a connection of its own.
struct GroupFailures: Sendable {
    enum Answer: Equatable {
        case again(after: Duration)
        /// It is a dead letter.
        case passed
        /// The group is paused there.
        case standsStill
        /// The partition is another member's.
        case elsewhere
    }

    private let core: GroupCore
    private let port: RequestPort

    init(_ core: GroupCore) {
        self.core = core
        port = RequestPort(core.context)
    }

    func tell(_ error: any Error, _ offset: Int64, _ key: OwnedKey) async throws -> Answer {
        let words = FailureWords(error)
        var request = FailRecordRequest()
        request.group = core.configuration.group
        request.member = await core.onQueue { $0.member }
        request.owned = OwnedPartition(
            topic: key.topic, partition: key.name.partition, epoch: key.epoch)
        request.offset = offset
        request.severity = words.verb - 5
        (request.failure, request.text) = (words.kind, words.text)
        do {
            let reply = try await port.call(request, isRepeatable: true)
            switch reply.answer {
            case 0: return .again(after: .milliseconds(reply.milliseconds))
            case 1: return .passed
            case 2: return .standsStill
            case let other:
                throw MartletError.protocolError("The answer \(other) to a failure is unknown.")
            }
        } catch let error as MartletError
            where error.code == .staleMemberEpoch || error.code == .fencedMember
        {
            return .elsewhere
        }
    }

    func close() async { await port.close() }
}
