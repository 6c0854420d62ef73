import Synchronization

/// What was acknowledged and what was read, over all lives of the broker; finds what cannot be.
final class Ledger: Sendable {
    struct Acked: Sendable {
        let partition: Int32
        let offset: Int64
        let identity: UInt64
    }

    struct State {
        /// For each partition the identity read or acknowledged at each offset; 0 is none.
        var content: [Int32: [UInt64]] = [:]
        var acked: [Acked] = []
        var violations: [String: [String]] = [:]
        var readRecords = 0
        /// Sends whose outcome stayed unknown, or that were refused.
        var unknown = 0
        var reasons: [String: Int] = [:]
    }

    private let state = Mutex(State())

    /// A send was acknowledged `durable`.
    func acknowledge(_ payload: Payload, partition: Int32, offset: Int64) {
        state.withLock { state in
            state.acked.append(
                Acked(partition: partition, offset: offset, identity: payload.identity + 1))
            Self.place(payload.identity + 1, partition, offset, &state, "ack")
        }
    }

    func noteUnknown(_ why: String) {
        state.withLock { state in
            state.unknown += 1
            state.reasons[why, default: 0] += 1
        }
    }

    /// A reader was handed a record.
    func read(_ payload: Payload?, partition: Int32, offset: Int64) {
        state.withLock { state in
            state.readRecords += 1
            guard let payload else {
                Self.violate(
                    "phantom", "partition \(partition) offset \(offset): bytes that nobody sent",
                    &state)
                return
            }
            Self.place(payload.identity + 1, partition, offset, &state, "read")
        }
    }

    func violate(_ id: String, _ text: String) {
        state.withLock { Self.violate(id, text, &$0) }
    }

    private static func violate(_ id: String, _ text: String, _ state: inout State) {
        state.violations[id, default: []].append(text)
    }

    /// An offset that was read or acknowledged never changes its content.
    private static func place(
        _ identity: UInt64, _ partition: Int32, _ offset: Int64, _ state: inout State, _ how: String
    ) {
        guard offset >= 0, offset < 1 << 32 else {
            violate("ack-offset", "offset \(offset)", &state)
            return
        }
        let index = Int(offset)
        var contents = state.content.removeValue(forKey: partition) ?? []
        if contents.count <= index {
            contents += repeatElement(0, count: index + 1 - contents.count)
        }
        if contents[index] == 0 {
            contents[index] = identity
        } else if contents[index] != identity {
            violate(
                "offset-conflict",
                "partition \(partition) offset \(offset): \(contents[index] - 1) and then (\(how)) \(identity - 1)",
                &state)
        }
        state.content[partition] = contents
    }

    /// Holds one complete read of all partitions against everything known.
    ///
    /// - Parameter drained: For each partition the offsets and payloads, in order of reading.
    func check(_ drained: [Int32: [(offset: Int64, payload: Payload)]]) {
        var at: [UInt64: [(Int32, Int64)]] = [:]
        for (partition, records) in drained {
            var lastOfLane: [Int: Int] = [:]
            var lastOffset: Int64 = -1
            for (offset, payload) in records {
                if offset <= lastOffset {
                    violate("order-poll", "partition \(partition): \(offset) after \(lastOffset)")
                }
                lastOffset = offset
                at[payload.identity + 1, default: []].append((partition, offset))
                if let last = lastOfLane[payload.lane], last >= payload.counter {
                    violate(
                        "order-producer",
                        "partition \(partition) offset \(offset): lane \(payload.lane) \(payload.counter) after \(last)"
                    )
                }
                lastOfLane[payload.lane] = payload.counter
            }
        }
        for (identity, places) in at where places.count > 1 {
            violate("duplicate", "\(identity - 1) at \(places)")
        }
        for ack in state.withLock({ $0.acked }) {
            let places = at[ack.identity] ?? []
            if places.isEmpty {
                violate(
                    "lost-acked",
                    "\(ack.identity - 1) acknowledged at \(ack.partition)/\(ack.offset)")
            } else if !places.contains(where: { $0.0 == ack.partition && $0.1 == ack.offset }) {
                violate(
                    "ack-offset",
                    "\(ack.identity - 1) acknowledged at \(ack.partition)/\(ack.offset), read at \(places)"
                )
            }
        }
    }

    var acked: [Acked] { state.withLock { $0.acked } }

    struct Totals: Sendable {
        let acked: Int
        let read: Int
        let unknown: Int
        /// Why sends were not acknowledged, and how often.
        let reasons: [String: Int]
        let violations: [String: [String]]
    }

    var totals: Totals {
        state.withLock {
            Totals(
                acked: $0.acked.count, read: $0.readRecords, unknown: $0.unknown,
                reasons: $0.reasons,
                violations: $0.violations)
        }
    }
}
