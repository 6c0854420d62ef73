import MartletSystem
import MartletWire
import Synchronization

/// What becomes of a record of a stream group whose handler throws.
public enum GroupFailureHandling: Sendable, Equatable {
    /// The call ends with the error, and the record comes again to who reads the partition next.
    case end
    /// The group's policy decides (`FailurePolicy`; the broker holds it and counts): the handler is
    /// called again after a pause, and nothing that must come behind the record is handled
    /// meanwhile; when the policy has enough, the record becomes a dead letter and the group goes
    /// on behind it, or the group stands still in the partition until somebody resumes it, or the
    /// record is set aside until somebody releases it, alone or with all later ones of its key. After
    /// a `PermanentFailure` no attempt follows. A record that ends the process of its handler, or
    /// hangs it for `progressTimeout`, is held to the same: where a member was lost without a word,
    /// the next one tells the broker before a handler begins with what may be why. Not with
    /// `CommitPolicy.beforeProcessing`, which never calls a handler twice.
    case byPolicy
}

/// Says to the broker that handlers failed, or begin with a suspect record, on a connection of its own.
final class GroupFailures: Sendable {
    enum Answer: Equatable {
        case again(after: Duration)
        /// It is a dead letter.
        case passed
        /// It is set aside, alone or with what comes later of its key.
        case parked(isKey: Bool)
        /// The group is paused there.
        case standsStill
        /// The partition is another member's.
        case elsewhere
    }

    /// Whether a handler may begin.
    enum Permission: Equatable {
        case go
        /// Once no other suspect record is with a handler.
        case alone
        case later(after: Duration)
        case not(Answer)
    }

    private let core: GroupCore
    /// Each start has a number of its own, so that one that is said twice counts once.
    private let starts = Atomic<UInt64>(0)
    private let port: RequestPort

    init(_ core: GroupCore) {
        self.core = core
        port = RequestPort(core.context)
    }

    func tell(
        _ error: any Error, _ record: ConsumedRecord, _ key: OwnedKey
    ) async throws -> Answer {
        let words = FailureWords(error)
        var request = FailRecordRequest()
        request.group = core.configuration.group
        request.member = await core.onQueue { $0.member }
        request.owned = OwnedPartition(
            topic: key.topic, partition: key.name.partition, epoch: key.epoch)
        (request.offset, request.hasKey) = (record.offset, record.keyBytes != nil)
        request.severity = words.verb - 5
        (request.failure, request.text) = (words.kind, words.text)
        do {
            let reply = try await port.call(request, isRepeatable: true)
            switch reply.answer {
            case 0: return .again(after: .milliseconds(reply.milliseconds))
            case 1: return .passed
            case 2: return .standsStill
            case 3, 4: return parked(record, key, withKey: reply.answer == 4)
            case let other:
                throw MartletError.protocolError("The answer \(other) to a failure is unknown.")
            }
        } catch let error as MartletError
            where error.code == .staleMemberEpoch || error.code == .fencedMember
        {
            return .elsewhere
        }
    }

    private func parked(
        _ record: ConsumedRecord, _ key: OwnedKey, withKey isKey: Bool
    ) -> Answer {
        core.events.post(.parked(key.name, offset: record.offset, withKey: isKey))
        return .parked(isKey: isKey)
    }

    func start(
        _ record: ConsumedRecord, _ key: OwnedKey, isAlone: Bool
    ) async throws -> Permission {
        var request = StartRecordRequest()
        request.group = core.configuration.group
        request.member = await core.onQueue { $0.member }
        request.owned = OwnedPartition(
            topic: key.topic, partition: key.name.partition, epoch: key.epoch)
        (request.offset, request.hasKey) = (record.offset, record.keyBytes != nil)
        request.number = starts.add(1, ordering: .relaxed).newValue
        request.isAlone = isAlone
        do {
            let reply = try await port.call(request, isRepeatable: true)
            switch reply.answer {
            case 0: return .go
            case 1: return .not(.passed)
            case 2: return .not(.standsStill)
            case 3: return .later(after: .milliseconds(reply.milliseconds))
            case 4: return .alone
            case 5, 6: return .not(parked(record, key, withKey: reply.answer == 6))
            case let other:
                throw MartletError.protocolError("The answer \(other) to a start is unknown.")
            }
        } catch let error as MartletError
            where error.code == .staleMemberEpoch || error.code == .fencedMember
        {
            return .not(.elsewhere)
        }
    }

    func close() async { await port.close() }
}
