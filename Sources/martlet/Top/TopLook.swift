import MartletClient
import MartletSystem

/// What the broker says at one moment.
struct TopLook: Sendable {
    /// Nanoseconds of the monotonic clock.
    let at: Int64
    /// Milliseconds since 1970.
    let time: Int64
    let status: BrokerStatus
    let topics: [TopicListing]
    let ends: [TopicPartition: Int64]
    let groups: [GroupFigures]
    /// Groups that were not asked for: those with the least lag.
    let groupsLeftOut: Int
}

extension TopLook {
    /// More groups than these would make each look slow for all.
    private static let groupsMax = 1_000
    private static let requestsMax = 16

    static func take(_ admin: AdminClient) async throws -> TopLook {
        let clock = SystemClock()
        let status = try await admin.status()
        let topics = try await admin.listTopics().filter { $0.isOnline && !$0.name.isEmpty }
        let ends = try await admin.highWatermarks(topics)
        let at = clock.monotonicNanoseconds()
        let all = try await admin.listGroups()
        let chosen = all.sorted { ($1.lag, $0.name) < ($0.lag, $1.name) }.prefix(groupsMax)
        return TopLook(
            at: at, time: clock.wallMilliseconds(), status: status, topics: topics, ends: ends,
            groups: try await groups(chosen.map(\.name), admin),
            groupsLeftOut: all.count - chosen.count)
    }

    private static func groups(
        _ names: [String], _ admin: AdminClient
    ) async throws -> [GroupFigures] {
        try await withThrowingTaskGroup(of: GroupFigures?.self) { tasks in
            var rest = names[...]
            var result: [GroupFigures] = []
            for name in rest.prefix(requestsMax) { tasks.addTask { try await group(name, admin) } }
            rest = rest.dropFirst(requestsMax)
            while let found = try await tasks.next() {
                if let found { result.append(found) }
                if let name = rest.popFirst() {
                    tasks.addTask { try await group(name, admin) }
                }
            }
            return result
        }
    }

    /// nil: it was deleted meanwhile.
    private static func group(_ name: String, _ admin: AdminClient) async throws -> GroupFigures? {
        do {
            return GroupFigures(try await admin.describeGroup(name))
        } catch let error as MartletError where error.code == .unknownGroup {
            return nil
        }
    }
}

/// What there is to know of a group at one moment.
struct GroupFigures: Sendable {
    let name: String
    let isQueue: Bool
    let members: Int
    let lag: Int64
    /// Milliseconds.
    let lagTime: Int64
    /// Milliseconds; nil: retention by age takes nothing.
    let headroom: Int64?
    let headroomBytes: Int64?
    let inFlight: Int64
    let delayed: Int64
    let parked: Int64
    /// Dead letters that nobody has handled, resolved or sent again.
    let dead: Int64
    let breaker: GroupBreaker.State
    /// The whole of it.
    let isPaused: Bool
    /// Topics and partitions that are paused by themselves: `orders`, `orders:3`.
    var pausedParts: [String] = []
    /// How many records it has handled, from some beginning on.
    let done: [TopicPartition: Int64]
    /// How long its handlers ran, by types of events; empty: nobody said.
    var handlers: [String: HandlerTimeSummary] = [:]
    /// The same of all types.
    var handlerTime: HandlerTimeSummary?
}

extension GroupFigures {
    /// Topics that were deleted have no name, and count no more.
    init(_ group: GroupDescription) {
        let isQueue = group.kind != .stream
        var done: [TopicPartition: Int64] = [:]
        if isQueue {
            for queue in group.queues where !queue.partition.topic.isEmpty {
                done[queue.partition] = queue.acked
            }
        } else {
            for line in group.partitions {
                guard let committed = line.committed, !line.partition.topic.isEmpty else {
                    continue
                }
                let above = line.finished.reduce(Int64(0)) { $0 &+ Int64($1.count) }
                done[line.partition] = committed &+ above
            }
        }
        self.init(
            name: group.name, isQueue: isQueue, members: group.members.count, lag: group.lag,
            lagTime: group.lagTime.inMilliseconds,
            headroom: group.retentionHeadroom?.inMilliseconds,
            headroomBytes: group.retentionHeadroomBytes,
            inFlight: group.queues.reduce(0) { $0 &+ $1.inFlight },
            delayed: group.queues.reduce(0) { $0 &+ $1.delayed },
            parked: group.queues.reduce(0) { $0 &+ $1.parked }
                &+ group.partitions.reduce(0) { $0 &+ $1.parked },
            dead: group.deadLetters.dead, breaker: group.breaker.state,
            isPaused: group.pauses.contains { $0.part == nil },
            pausedParts: group.pauses.compactMap { $0.part?.word },
            done: done,
            handlers: group.handlerTimeByType,
            handlerTime: group.handlerTime.count > 0 ? group.handlerTime : nil)
    }
}
