import MartletFormat
import MartletSystem
import MartletWire

// How partitions come and go.
extension GroupCore {
    /// What the member owns now, by the broker.
    func apply(_ reply: HeartbeatReply) {
        let names = Dictionary(
            reply.topics.map { ($0.topic, $0.name) }, uniquingKeysWith: { first, _ in first })
        var wanted: [OwnedKey: AssignedPartition] = [:]
        for entry in reply.partitions {
            guard let name = names[entry.owned.topic] else { continue }
            let key = OwnedKey(
                name: TopicPartition(name, entry.owned.partition), topic: entry.owned.topic,
                epoch: entry.owned.epoch)
            wanted[key] = entry
        }
        let again = Set(wanted.keys.map(\.name))
        var isReleased = false
        for (key, partition) in held where wanted[key] == nil {
            if again.contains(key.name), partition.phase != .released {
                let error = MartletError(.staleMemberEpoch, "", context: key.name.context)
                lose([key], error)
                continue
            }
            switch partition.phase {
            case .waiting:
                partition.phase = .released
                isReleased = true
            case .opening, .reading: drain(partition)
            case .draining, .closing, .released: break
            }
        }
        // What is being given up is given up, also when it is the member's again: it comes back.
        let new = wanted.filter { held[$0.key] == nil }
        for (key, assigned) in new {
            let partition = Held(key, assigned)
            held[key] = partition
            let committed = partition.committed
            trace(
                .assigned(
                    member: member.description, key.part, offset: committed.offset,
                    finished: committed.finished.compactMap(\.range)))
        }
        if !new.isEmpty {
            let keys = new.keys.sorted { $0.name < $1.name }
            steward.add { [weak self] in await self?.open(keys) }
        }
        if isReleased { heartbeat() }
    }

    // MARK: - Coming

    /// By the steward.
    private func open(_ keys: [OwnedKey]) async {
        let starts = await onQueue { core in
            keys.compactMap { key -> (OwnedKey, CommittedPosition)? in
                guard let partition = core.held[key], partition.phase == .waiting else {
                    return nil
                }
                partition.phase = .opening
                partition.isKnown = true
                return (key, partition.committed)
            }
        }
        guard !starts.isEmpty else { return }
        let compacted = await compactedTopics(Set(starts.map(\.0.topic)))
        var cursors: [PartitionCursor] = []
        var resets: [OwnedKey] = []
        var failures: [(OwnedKey, MartletError)] = []
        for (key, committed) in starts {
            let cursor = PartitionCursor(
                key.name, id: key.topic, position: committed.offset,
                isCompacted: compacted.contains(key.topic))
            cursor.owned = key
            cursor.handled = committed.finished.compactMap(\.range)
            if committed.offset < 0 {
                do {
                    cursor.position = try await resetOffset(key, nil)
                    resets.append(key)
                } catch {
                    failures.append((key, error))
                    cursor.isStopped = true
                    cursor.position = 0
                }
            }
            cursors.append(cursor)
        }
        await hooks.assign(starts.map(\.0.name))
        await onQueue { [cursors, resets, failures] core in
            core.begin(cursors, resets, failures)
        }
    }

    /// Where the reset policy begins.
    private func resetOffset(
        _ key: OwnedKey, _ missing: MartletError?, isBehind: Bool = false
    ) async throws(MartletError) -> Int64 {
        let query: OffsetQuery
        // Where the group has been is no place to choose anew.
        switch isBehind ? .earliest : configuration.resetPolicy {
        case .earliest: query = .earliest
        case .latest: query = .latest
        case .time(let time): query = .time(time)
        case .fail:
            throw missing
                ?? MartletError(
                    .offsetOutOfRange,
                    "Group \(configuration.group) has committed nothing in \(key.name).",
                    context: key.name.context)
        }
        do {
            // Other partitions wait behind it: who cannot be told now is asked for again later.
            return try await ask {
                try await $0.offsets([(key.topic, key.name, query)], isPatient: false)[0].offset
            }
        } catch let error as MartletError {
            throw error
        } catch {
            throw .closed("consumer")
        }
    }

    private func compactedTopics(_ ids: Set<TopicID>) async -> Set<TopicID> {
        var found: Set<TopicID> = []
        var rest = Array(ids)[...]
        while !rest.isEmpty {
            var request = MetadataRequest()
            request.ids = rest.prefix(WireLimits.namesMax).map { TopicIDItem($0) }
            rest = rest.dropFirst(request.ids.count)
            // Without an answer: the consumer learns it when it finds records missing.
            let reply = try? await ask { [request] in
                try await $0.port.call(request, isRepeatable: true)
            }
            guard let reply else { continue }
            for topic in reply.topics where topic.compacted { found.insert(topic.id) }
        }
        return found
    }

    /// The application knows of the partitions: they are read from now on.
    private func begin(
        _ cursors: [PartitionCursor], _ resets: [OwnedKey],
        _ failures: [(OwnedKey, MartletError)]
    ) {
        var begun: [PartitionCursor] = []
        for cursor in cursors {
            guard let key = cursor.owned, let partition = held[key] else { continue }
            guard partition.phase == .opening else {
                // Asked for again in the meantime.
                isDrained(key)
                continue
            }
            partition.phase = .reading
            partition.cursor = cursor
            partition.hasStart = !cursor.isStopped
            var committed: GroupLedger.Position? = GroupLedger.Position(
                offset: partition.committed.offset, finished: cursor.handled)
            if partition.committed.offset < 0 {
                // Where there is nowhere to begin there is nothing to commit either.
                committed = cursor.isStopped ? GroupLedger.Position(offset: cursor.position) : nil
            }
            // Who commits before takes what is parked for done with all others.
            let isBefore = configuration.commitPolicy == .beforeProcessing
            ledger.open(
                key, at: cursor.position, committed: committed,
                suspectBelow: partition.suspectBelow, parked: isBefore ? [:] : partition.parked)
            partition.isTold = true
            begun.append(cursor)
        }
        if begun.isEmpty { return }
        events.post(.assigned(begun.map(\.name)))
        for cursor in begun {
            guard let key = cursor.owned, resets.contains(key) else { continue }
            tell(key, .uncommitted, from: nil, to: cursor.position)
        }
        reading.add(begun)
        // So that who comes after begins at the same place, whatever comes in between.
        commit(begun.compactMap(\.owned).filter(resets.contains), deadline: .max)
        for (key, error) in failures {
            cannotReset(key, Missing(reason: .uncommitted, error: nil, end: 0), error)
        }
    }

    /// Tells the application at once, and the broker with the next commit, that the policy chose.
    private func tell(_ key: OwnedKey, _ reason: Missing.Reason, from: Int64?, to offset: Int64) {
        events.post(.reset(key.name, from: from, to: offset))
        var item = PolicyResetItem()
        item.owned = OwnedPartition(
            topic: key.topic, partition: key.name.partition, epoch: key.epoch)
        item.reason = reason.rawValue
        item.from = from ?? -1
        item.to = offset
        note([item])
    }

    /// The offset to read is gone, or there is none yet. By the steward.
    func reset(_ key: OwnedKey, _ missing: Missing) async {
        let target: Result<Int64, MartletError>
        do {
            // What was lost must not bring back what lies before it: it would come to the same place.
            let isBehind = await onQueue { $0.isBehind(key, missing) }
            let offset = try await resetOffset(key, missing.error, isBehind: isBehind)
            target = .success(max(offset, missing.end))
        } catch {
            target = .failure(error)
        }
        await onQueue { core in
            switch target {
            case .success(let offset): core.reset(key, missing.reason, to: offset)
            case .failure(let error): core.cannotReset(key, missing, error)
            }
        }
    }

    /// What is gone lies behind what the group has passed: it had been set aside.
    private func isBehind(_ key: OwnedKey, _ missing: Missing) -> Bool {
        guard missing.reason == .gone, let partition = held[key], let cursor = partition.cursor
        else { return false }
        return cursor.position < partition.passedBelow
    }

    private func reset(_ key: OwnedKey, _ reason: Missing.Reason, to offset: Int64) {
        guard let partition = held[key], partition.phase == .reading,
            let cursor = partition.cursor
        else { return }
        let before = partition.hasStart ? cursor.position : nil
        let isBack = before.map { offset < $0 } ?? true
        partition.hasStart = true
        if isBack { cursor.handled = [] }
        ledger.reset(key, to: offset, isBack: isBack)
        tell(key, reason, from: before, to: offset)
        reading.resume(cursor, at: offset)
        commit([key], deadline: .max)
    }

    /// The reset policy has no answer: for ever, or for now.
    private func cannotReset(_ key: OwnedKey, _ missing: Missing, _ error: MartletError) {
        guard held[key]?.phase == .reading, !isEnding else { return }
        // How long a broker may be away, the group's own connection decides.
        guard error.isRetriable else {
            return reading.shelf.stop(key.name, error)
        }
        afterPause { core in
            core.steward.add { [weak core] in await core?.reset(key, missing) }
        }
    }

    // MARK: - Going

    /// Nothing more of the partition is handed out; the broker hears why with the commit.
    func isFull(_ key: OwnedKey) {
        guard let partition = held[key], partition.phase == .reading, !partition.isFull else {
            return
        }
        partition.isFull = true
        events.post(.tooManyParked(key.name))
        if let cursor = partition.cursor { reading.remove(cursor) }
        // The broker may have all else that there is to say.
        commit([key], deadline: .max, tellsAll: true)
    }

    /// Another member is to have the partition.
    private func drain(_ partition: Held) {
        let isOpening = partition.phase == .opening
        partition.phase = .draining
        let key = partition.key
        let patience = configuration.drainTimeout.nanosecondsClamped
        context.loop.execute(after: max(patience, 1)) { [weak self] in
            guard let self else { return }
            self.tellOverrun(key)
            if !isOpening { self.isDrained(key) }
        }
        // The steward comes back to it.
        if isOpening { return }
        if let cursor = partition.cursor { reading.remove(cursor) }
        if ledger.drain(key) { isDrained(key) }
    }

    /// The broker takes the partition about now, if it is not given up yet.
    private func tellOverrun(_ key: OwnedKey) {
        guard phase == .joined, let partition = held[key], partition.isTold else { return }
        switch partition.phase {
        case .draining, .closing: events.post(.drainTimedOut(key.name))
        case .waiting, .opening, .reading, .released: break
        }
    }

    /// The application is done with the partition, or has had its time.
    func isDrained(_ key: OwnedKey) {
        tellIfQuiet()
        guard let partition = held[key], partition.phase == .draining else { return }
        partition.phase = .closing
        drained.append(key)
        if drained.count == 1 {
            steward.add { [weak self] in await self?.giveUp() }
        }
    }

    /// By the steward: all that is drained by now.
    private func giveUp() async {
        let keys = await onQueue { core in
            defer { core.drained = [] }
            return core.takeKnown(core.drained)
        }
        guard !keys.isEmpty else { return }
        await hooks.revoke(keys.map(\.name), false)
        await commitLast(keys)
        await onQueue { core in
            for key in keys {
                guard let partition = core.held[key] else { continue }
                core.ledger.close(key)
                partition.phase = .released
                partition.cursor = nil
            }
            core.tellRevoked(core.takeTold(keys))
            core.heartbeat()
        }
    }

    /// What was done of the partitions; how it went is an event.
    func commitLast(_ keys: [OwnedKey]) async {
        let done = Promise<Void>()
        await onQueue { core in
            let patience = core.configuration.drainTimeout.nanosecondsClamped
            let open = core.ledger.uncommitted.filter(Set(keys).contains)
            core.commit(open, deadline: core.now.addingClamped(patience)) { _ in
                done.succeed(())
            }
        }
        await done.settled()
    }

    /// The partitions belong to others, or may.
    func lose(_ keys: [OwnedKey], _ error: MartletError) {
        if phase == .left { return }
        // Who leaves calls the hook itself, once nothing is in hand any more.
        let known = phase == .leaving ? [] : takeKnown(keys).map(\.name).sorted()
        let told = takeTold(keys)
        for key in keys {
            guard let partition = held.removeValue(forKey: key) else { continue }
            if let cursor = partition.cursor { reading.remove(cursor) }
            ledger.close(key)
        }
        // What is in hand of it nobody waits for: it is not the member's any more.
        tellIfQuiet()
        if !told.isEmpty { events.post(.lost(told, error)) }
        if !known.isEmpty { steward.add { [hooks] in await hooks.revoke(known, true) } }
    }

    /// Those of which `onRevoke` is to be called: by whoever takes them, and nobody else.
    func takeKnown(_ keys: [OwnedKey]) -> [OwnedKey] {
        keys.filter { key in
            guard let partition = held[key], partition.isKnown else { return false }
            partition.isKnown = false
            return true
        }
    }

    /// Those of which it is to be told that they are gone: by whoever takes them, and nobody else.
    ///
    /// - Parameter keys: nil: all that are held.
    /// - Returns: their names, in order.
    func takeTold(_ keys: [OwnedKey]? = nil) -> [TopicPartition] {
        let told = (keys ?? Array(held.keys)).filter { key in
            guard let partition = held[key], partition.isTold else { return false }
            partition.isTold = false
            return true
        }
        return told.map(\.name).sorted()
    }

    func tellRevoked(_ names: [TopicPartition]) {
        if !names.isEmpty { events.post(.revoked(names)) }
    }
}
