import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

// What is recorded, under the lock.
extension GroupShard {
    /// Commands wait outside the budget for requests, so only a few may.
    private static let putOffBytesMax = 4 << 20

    func putOff<Message: WireRequest>(
        _ request: Request<Message>, _ heldBytes: Int, _ state: inout State,
        _ effects: inout Effects, _ command: @escaping @Sendable () -> Void
    ) {
        let bytes = request.header.frameBytes + heldBytes + 256
        guard state.putOff.isEmpty || state.putOffBytes + bytes <= Self.putOffBytesMax else {
            let code = ErrorCode.tooManyRequests
            effects.told.append { _ in Self.send(request, code, code.text) }
            return
        }
        state.putOffBytes += bytes
        state.putOff.append(command)
    }

    enum Appending {
        case appended
        case later
        case refused(ErrorCode, String)
    }

    /// Appends records in as many batches as they need; each part holds once it is appended. No
    /// record needs the ones behind it: who is cut short is run again.
    func append(
        _ records: [GroupRecord], _ cause: GroupCause, _ state: inout State,
        _ effects: inout Effects
    ) -> Appending {
        effects.end = state.end
        guard records.isEmpty || !state.isStopped else {
            return .refused(.shuttingDown, ErrorCode.shuttingDown.text)
        }
        do throws(WireError) {
            for part in try GroupBatch.parts(records.map { GroupEntry(clerk.inLog($0)) }) {
                let appending = try append(part, &state)
                guard case .appended = appending else { return appending }
                effects.end = state.end
                hold(part, cause, &state, &effects)
            }
        } catch {
            return .refused(.internalError, error.description)
        }
        return .appended
    }

    func append(
        _ part: [GroupEntry], _ state: inout State
    ) throws(WireError) -> Appending {
        let (slab, header) = try InternalBatch.encode(part, time: clock.wallMilliseconds())
        switch log.append(slab, 0..<slab.count, header, retry: self) {
        case .appended(let receipt), .duplicate(let receipt):
            state.end = receipt.endOffset
            return .appended
        case .later:
            state.isPutOff = true
            return .later
        case .refused(let refusal):
            let (code, text) = StorageErrors.refusal(refusal)
            return .refused(code, text)
        }
    }

    /// Makes it so, and remembers to save the state when much has happened.
    private func hold(
        _ part: [GroupEntry], _ cause: GroupCause, _ state: inout State, _ effects: inout Effects
    ) {
        let records = part.compactMap(\.record)
        for record in records {
            let events = state.coordinator.hold(record, cause)
            if !events.isEmpty { effects.events += dated(events, end: state.end) }
            if state.coordinator.carriesDeliveries(record) { state.footing = state.end }
            dismiss(record, &state, &effects)
            if record.isLetterEntry { effects.unfilled.insert(record.group) }
        }
        state.replayed += records.reduce(0) { $0 + $1.weight }
        guard state.replayed > state.snapshotAfter else { return }
        state.replayed = 0
        state.snapshotAfter = state.coordinator.recordsBeforeSnapshot
        effects.snapshot = (state.coordinator, state.end)
    }

    /// Who is no member any more need not wait to hear it.
    func dismiss(_ record: GroupRecord, _ state: inout State, _ effects: inout Effects) {
        let gone: MemberKey
        switch record {
        case .left(let group, let id, _): gone = MemberKey(group: group, member: id)
        case .joined(let group, _, _, .some(let former)):
            gone = MemberKey(group: group, member: former)
        case .joined(_, _, _, nil), .created, .deleted, .departed, .granted, .freed, .committed,
            .forgotten, .paused, .resumed, .reset, .queue, .policy, .letter, .breaker,
            .suspected, .restarted, .expired:
            return
        }
        // It asks again, and hears it.
        effects.woken += state.receivers.removeValue(forKey: gone.group)?.values.map(\.self) ?? []
        guard let heartbeat = state.parked.removeValue(forKey: gone) else { return }
        effects.told.append { failure in
            heartbeat.answer(
                HeartbeatReply(
                    error: .fencedMember, message: ErrorCode.fencedMember.text), failure)
        }
    }
}
