import MartletConfiguration
import MartletGroups
import MartletWire

/// What of groups deserves a look.
struct GroupExamination {
    struct Finding {
        let severity: UInt8
        let code: String
        let text: String
        let advice: String
    }

    /// Beyond so many groups of a kind of finding the rest are counted.
    private static let namedMax = 20
    private static let warning: UInt8 = 1
    private static let critical: UInt8 = 2

    private let now: Int64
    private(set) var findings: [Finding] = []
    private var counts: [String: Int] = [:]

    /// `now`: in milliseconds since 1970 UTC.
    init(now: Int64) {
        self.now = now
    }

    /// - Parameters:
    ///   - lines: Of all its partitions.
    ///   - shortages: Of all its topics.
    mutating func examine(
        _ group: GroupDescription, _ lines: [GroupPartitionLine], _ shortages: [Headroom]
    ) {
        let lag = GroupLag.total(lines)
        letters(group)
        parked(group)
        stops(group)
        if group.members.isEmpty, lag.records > 0 {
            find(
                "group-unread",
                "nobody is in group \(group.name), and "
                    + "\(Counted.text(lag.records, "record", "waits", "wait")) for it",
                "start its members; `martlet group delete \(group.name)` when they never come back")
        }
        replays(group)
        headroom(group, shortages)
        if group.policy.last == .pause {
            find(
                "group-without-dead-letters",
                "group \(group.name) stands still in a partition when handlers fail with a record",
                "`martlet group policy \(group.name) --then dead-letter` goes on instead")
        }
    }

    /// Says how many groups there are of which nothing was said.
    mutating func end() {
        for (code, count) in counts.sorted(by: { $0.key < $1.key }) where count > Self.namedMax {
            add(
                Self.warning, code,
                "the same of \(Counted.text(count - Self.namedMax, "more group"))",
                "`martlet group list` has them all")
        }
    }

    private mutating func letters(_ group: GroupDescription) {
        guard group.letters.dead > 0 else { return }
        let oldest = group.letters.oldestAt.map {
            ", the oldest for \(Self.age(now.subtractingReportingOverflow($0).partialValue))"
        }
        find(
            "dead-letters",
            "\(Counted.text(group.letters.dead, "dead letter")) of group \(group.name) "
                + "\(group.letters.dead == 1 ? "waits" : "wait")\(oldest ?? "")",
            "`martlet dlq list \(group.name)`, then `dlq replay` or `dlq resolve`")
    }

    /// What was sent again is no lag. In flight without a member are only the letters.
    private mutating func replays(_ group: GroupDescription) {
        let open = group.replays.reduce(group.letters.replaying) { $0 &+ $1.ready &+ $1.delayed }
        guard group.members.isEmpty, open > 0 else { return }
        find(
            "replays-unread",
            "nobody is in group \(group.name), and "
                + "\(Counted.text(open, "record", "waits", "wait")) that somebody sent to it again",
            "start its members; `martlet group describe \(group.name)` shows what waits")
    }

    private mutating func parked(_ group: GroupDescription) {
        let parked = group.parked
        guard let first = parked.oldestAt else { return }
        let since = Self.age(now.subtractingReportingOverflow(first).partialValue)
        let behind =
            parked.withKey == 0
            ? "" : "; later records of \(Counted.text(parked.withKey, "key")) wait behind"
        find(
            "parked-records",
            "\(Counted.text(parked.records, "record")) of group \(group.name) "
                + "\(parked.records == 1 ? "is" : "are") parked, for up to \(since)\(behind)",
            "`martlet group parked \(group.name)` says why; when that is mended, "
                + "`martlet group release \(group.name) --all`")
    }

    private mutating func stops(_ group: GroupDescription) {
        if let first = group.pauses.map(\.at).min() {
            let places = Counted.text(group.pauses.count, "place")
            let since = Self.age(now.subtractingReportingOverflow(first).partialValue)
            find(
                "group-paused",
                "group \(group.name) stands still in \(places), for up to \(since)",
                "`martlet group describe \(group.name)` shows where; `martlet group resume` ends it"
            )
        }
        switch group.breaker.state {
        case .closed: break
        case .open, .halfOpen:
            find(
                "breaker-open",
                "the breaker of group \(group.name) holds its records back: its handlers fail, or "
                    + "somebody opened it",
                "`martlet group events \(group.name) --type breaker.opened` says which; it tries "
                    + "again by itself, or when it is told to (`martlet group breaker --close`)")
        }
    }

    private mutating func headroom(_ group: GroupDescription, _ shortages: [Headroom]) {
        for cause in [Headroom.Cause.age, .size] {
            let short = shortages.filter { $0.cause == cause }
            guard let least = short.map(\.left).min(), let level = short.map(\.level).max() else {
                continue
            }
            let left =
                switch cause {
                case .age: "in \(Self.age(least))"
                case .size: "when \(Counted.text(least, "more byte")) came"
                }
            find(
                "group-headroom",
                "retention may take what group \(group.name) has not handled \(left)",
                "`martlet group describe \(group.name)` shows where; keep its topics for longer",
                level == .critical ? Self.critical : Self.warning)
        }
    }

    private mutating func find(
        _ code: String, _ text: String, _ advice: String, _ severity: UInt8 = Self.warning
    ) {
        counts[code, default: 0] += 1
        // What is critical is said in any case.
        guard severity == Self.critical || counts[code, default: 0] <= Self.namedMax else { return }
        add(severity, code, text, advice)
    }

    private mutating func add(
        _ severity: UInt8, _ code: String, _ text: String, _ advice: String
    ) {
        findings.append(Finding(severity: severity, code: code, text: text, advice: advice))
    }

    private static func age(_ milliseconds: Int64) -> String {
        let seconds = max(0, milliseconds) / 1_000
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60)
        if days > 0 { return "\(days)d \(hours)h" }
        if hours > 0 { return "\(hours)h \(minutes)m" }
        return minutes > 0 ? "\(minutes)m \(seconds % 60)s" : "\(seconds)s"
    }
}
