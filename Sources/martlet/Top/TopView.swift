import MartletClient

/// What changed between two looks, the worst first.
struct TopView: Sendable {
    /// Records and bytes a second; nil without a look before, and over a restart of the broker.
    struct Rates: Sendable {
        var recordsIn: Double?
        var bytesIn: Double?
        var bytesOut: Double?
    }

    struct Topic: Sendable {
        let name: String
        let partitions: Int
        let bytes: Int64
        /// Records a second.
        let rateIn: Double?
        /// Records a second that groups have handled, all together.
        let rateOut: Double?
    }

    struct Group: Sendable {
        let figures: GroupFigures
        let trouble: Trouble?
        /// Records a second by which the lag grows.
        let lagRate: Double?
        /// Records a second that it has handled.
        let doneRate: Double?
    }

    /// What is wrong with a group. The first is the worst.
    enum Trouble: Int, Comparable, Sendable {
        /// Retention is nearer than the end of the log.
        case losing
        /// Records wait, and nobody is there.
        case noMembers
        /// Too much fails: nothing is handed out.
        case broken
        case paused
        /// Only topics or partitions of it are paused.
        case partlyPaused

        static func < (left: Trouble, right: Trouble) -> Bool { left.rawValue < right.rawValue }

        var word: String {
            switch self {
            case .losing: "losing"
            case .noMembers: "no members"
            case .broken: "breaker open"
            case .paused: "paused"
            case .partlyPaused: "paused in part"
            }
        }
    }

    let look: TopLook
    /// Seconds since the look before.
    let seconds: Double?
    let rates: Rates
    let groups: [Group]
    let topics: [Topic]

    init(_ look: TopLook, since before: TopLook?) {
        let seconds = before.map { Double(max(1, look.at - $0.at)) / 1e9 }
        self.look = look
        self.seconds = seconds
        rates = Self.rates(look.status, before?.status, seconds)
        let known = Dictionary(
            (before?.groups ?? []).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var out: [String: Int64] = [:]
        groups = look.groups.map { group in
            let old = known[group.name]
            let moved = Self.moved(from: old?.done ?? [:], to: group.done)
            for (topic, count) in moved { out[topic, default: 0] &+= count }
            return Group(
                figures: group, trouble: Self.trouble(of: group),
                lagRate: Self.rate(old.map { group.lag &- $0.lag }, seconds),
                doneRate: Self.rate(old.map { _ in moved.values.reduce(0, &+) }, seconds))
        }.sorted(by: Self.isWorse)
        let came = Self.moved(from: before?.ends ?? [:], to: look.ends)
        topics = look.topics.map { topic in
            Topic(
                name: topic.name, partitions: topic.partitions, bytes: topic.bytes,
                rateIn: Self.rate(came[topic.name], seconds),
                rateOut: Self.rate(before.map { _ in out[topic.name] ?? 0 }, seconds))
        }.sorted(by: Self.isBusier)
    }

    /// By topic, how far counts moved on. What went back was set back by a person and counts
    /// nothing; a partition that is new counts nothing either.
    private static func moved(
        from old: [TopicPartition: Int64], to new: [TopicPartition: Int64]
    ) -> [String: Int64] {
        var result: [String: Int64] = [:]
        for (partition, count) in new {
            guard let before = old[partition] else { continue }
            result[partition.topic, default: 0] &+= max(0, count &- before)
        }
        return result
    }

    private static func rate(_ count: Int64?, _ seconds: Double?) -> Double? {
        guard let count, let seconds else { return nil }
        return Double(count) / seconds
    }

    /// Its counters begin at 0 with each start.
    private static func rates(
        _ now: BrokerStatus, _ before: BrokerStatus?, _ seconds: Double?
    ) -> Rates {
        guard let before, let seconds, before.startedAt == now.startedAt,
            before.pid == now.pid
        else { return Rates() }
        func rate(_ key: KeyPath<BrokerStatus, UInt64>) -> Double {
            Double(now[keyPath: key] - min(before[keyPath: key], now[keyPath: key])) / seconds
        }
        return Rates(
            recordsIn: rate(\.recordsIn), bytesIn: rate(\.bytesIn), bytesOut: rate(\.bytesOut))
    }

    private static func trouble(of group: GroupFigures) -> Trouble? {
        let standsStill: Trouble? =
            group.breaker == .open
            ? .broken : group.isPaused ? .paused : group.pausedParts.isEmpty ? nil : .partlyPaused
        guard group.lag > 0 else { return standsStill }
        if let headroom = group.headroom, headroom <= group.lagTime { return .losing }
        if group.members == 0 { return .noMembers }
        return standsStill
    }

    private static func isWorse(_ left: Group, _ right: Group) -> Bool {
        let (first, second) = (left.trouble?.rawValue ?? .max, right.trouble?.rawValue ?? .max)
        if first != second { return first < second }
        if left.figures.lagTime != right.figures.lagTime {
            return left.figures.lagTime > right.figures.lagTime
        }
        if left.figures.lag != right.figures.lag { return left.figures.lag > right.figures.lag }
        return left.figures.name < right.figures.name
    }

    private static func isBusier(_ left: Topic, _ right: Topic) -> Bool {
        let first = (left.rateIn ?? 0) + (left.rateOut ?? 0)
        let second = (right.rateIn ?? 0) + (right.rateOut ?? 0)
        return first == second ? left.name < right.name : first > second
    }
}
