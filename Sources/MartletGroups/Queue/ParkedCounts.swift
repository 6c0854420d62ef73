/// What a group has set aside, in all of its partitions and in what was sent to it again.
package struct ParkedCounts: Equatable, Sendable {
    package private(set) var records: Int64 = 0
    /// Those of them that keep all later records of their key behind them.
    package private(set) var withKey: Int64 = 0
    /// When the first of them was parked, in milliseconds since 1970 UTC; nil: there are none.
    package private(set) var oldestAt: Int64?

    init(_ queues: some Sequence<QueueProgress>) {
        for record in queues.lazy.flatMap(\.parked.values) {
            records += 1
            withKey += record.isKey ? 1 : 0
            oldestAt = min(oldestAt ?? record.at, record.at)
        }
    }
}
