import MartletFormat
import MartletSystem
import MartletWire

// How a member ends.
extension GroupCore {
    /// Gives everything back, tells the group, and ends. By the steward.
    ///
    /// - Parameter isPatient: waits for what the application has in hand.
    func leave(isPatient: Bool) async {
        let quiet = Promise<Void>()
        let keys = await onQueue { core in
            let keys = core.beginToLeave()
            let patience = core.configuration.drainTimeout.nanosecondsClamped
            if isPatient, patience > 0, core.ledger.isBusy {
                core.whenQuiet = quiet
                core.context.loop.execute(after: patience) { quiet.succeed(()) }
            } else {
                quiet.succeed(())
            }
            return keys
        }
        await quiet.settled()
        let kept = await revokeLast(keys)
        if await onQueue({ $0.phase == .leaving && !$0.isFailed }) {
            await commitLast(kept)
            await sayGoodbye()
        }
        await onQueue { $0.end() }
    }

    /// Who waits for the application, at the end, goes on when it has nothing in hand.
    func tellIfQuiet() {
        if !ledger.isBusy { whenQuiet?.succeed(()) }
    }

    /// Calls `onRevoke`. Returns those that are the member's still.
    private func revokeLast(_ keys: [OwnedKey]) async -> [OwnedKey] {
        let kept = await onQueue { core in
            let known = core.takeKnown(keys)
            return core.isFailed ? [] : known
        }
        let lost = Set(keys).subtracting(kept).map(\.name).sorted()
        if !lost.isEmpty { await hooks.revoke(lost, true) }
        if !kept.isEmpty { await hooks.revoke(kept.map(\.name).sorted(), false) }
        return kept
    }

    /// Reads no more. Returns the partitions that the application knows of.
    private func beginToLeave() -> [OwnedKey] {
        guard phase != .closed else { return [] }
        // A join that is not answered may have been heard all the same.
        if phase == .joined || phase == .joining { phase = .leaving }
        tellJoined()
        var known: [OwnedKey] = []
        for (key, partition) in held {
            if let cursor = partition.cursor { reading.remove(cursor) }
            _ = ledger.drain(key)
            if partition.isKnown { known.append(key) }
            partition.phase = .closing
        }
        return known
    }

    /// Gives up what it still has. A member with an instance stays, and says that nothing of what it
    /// had is why it is gone.
    private func sayGoodbye() async {
        let done = Promise<Void>()
        let names = await onQueue { core -> [TopicPartition] in
            guard core.phase == .leaving, !core.isFailed else {
                done.succeed(())
                return []
            }
            core.sendGoodbye { done.succeed(()) }
            // The broker answers what still waits as to a stranger.
            core.phase = .left
            return core.takeTold()
        }
        await done.settled()
        tellRevoked(names)
    }

    /// - Parameter then: is called when it was heard, or cannot be.
    private func sendGoodbye(_ then: @escaping () -> Void) {
        let stays = configuration.instance != nil
        guard let connection = link.connection, !stays || !ledger.isBusy else { return then() }
        var request = LeaveGroupRequest()
        request.group = configuration.group
        request.member = member
        request.stays = stays
        if !stays { trace(.leaving(member: member.description)) }
        connection.send(request, timeout: context.configuration.requestTimeout) { _ in then() }
        connection.flush()
    }
}
