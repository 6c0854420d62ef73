/// Queues in order by key: the coordinator knows no records, so the broker reads keys for it.
extension Coordinator {
    /// Keys that have to be read before more of a queue can be handed out.
    package struct KeyWant: Equatable, Sendable {
        package let group: String
        package let queue: QueueID
        package let from: Int64
        /// No more records than this; offsets, not only those that have keys.
        package let records: Int
    }

    /// What the broker is to read now. Each is answered with `offer`, or with `readNothing`.
    package mutating func takeKeyWants() -> [KeyWant] {
        defer { keyWants = [] }
        return keyWants
    }

    /// Keys that were read. Who waits for records asks again.
    package mutating func offer(_ name: String, _ queue: QueueID, _ chunk: KeyChunk) {
        guard let progress = groups[name]?.state.queues[queue] else { return }
        var chunk = chunk
        if limits.plantedBug == .mixQueueKeys { chunk.keys = [] }
        if groups[name]?.activity.queues[queue]?.take(chunk, progress) == true {
            readyQueues.insert(name)
        }
    }

    /// The log could not be read. Who waits for records asks again.
    package mutating func readNothing(_ name: String, _ queue: QueueID) {
        guard groups[name]?.activity.queues[queue]?.window?.isReading == true else { return }
        groups[name]?.activity.queues[queue]?.window?.isReading = false
        readyQueues.insert(name)
    }

    /// Has more read when little is ready. False: nothing may be read because too much is open.
    mutating func wantKeys(
        _ name: String, _ queue: QueueID, _ leases: inout QueueLeases, _ progress: QueueProgress,
        below end: Int64, isHungry: Bool
    ) -> Bool {
        guard let window = leases.window, !window.isReading, isHungry || leases.isLow,
            let from = leases.nextUnread(progress), from < end
        else { return true }
        let most = limits.keysReadMax
        guard from < window.end || leases.open(progress) < limits.openRecordsMax,
            window.count + most <= limits.windowKeysMax, hasRoom(for: most, beside: window)
        else { return false }
        leases.window?.isReading = true
        keyWants.append(KeyWant(group: name, queue: queue, from: from, records: most))
        return true
    }

    /// Whether all windows together may know so many keys more. What was promised counts as if it were
    /// there, and all is counted only when that seems too much. A window that has little may always
    /// have more, so none starves.
    private mutating func hasRoom(for keys: Int, beside window: KeyWindow) -> Bool {
        keysPromised += keys
        if keysPromised <= limits.keysMax { return true }
        let known = groups.values.lazy.flatMap { $0.activity.queues.values }
            .reduce(0) { $0 + ($1.window?.count ?? 0) }
        keysPromised = known + keys
        if keysPromised <= limits.keysMax || window.count < keys { return true }
        keysPromised -= keys
        return false
    }

    /// Nobody is in the group: what is known of its keys is read again when somebody comes.
    mutating func forgetKeys(_ name: String) {
        guard let group = groups[name], group.state.kind.isOrdered, group.state.members.isEmpty
        else { return }
        for (queue, progress) in group.state.queues {
            groups[name]?.activity.queues[queue]?.forgetKeys(progress)
        }
    }
}
