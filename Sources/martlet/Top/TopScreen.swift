import MartletClient

/// A view as text: whole, or as much of it as a terminal has room for.
struct TopScreen {
    let view: TopView
    let server: String

    /// All rows, for what is no terminal.
    func text(rows: Int?) -> String {
        let groups = Self.part(groups, rows, beyond: view.look.groupsLeftOut)
        let lines = head + [""] + groups + [""] + Self.part(topics, rows)
        return lines.map { $0 + "\n" }.joined()
    }

    /// What can be left out where there is no room: `group describe` has it.
    private static let spare = [
        "HANDLER P99", "DELAYED", "LAG/S", "IN FLIGHT", "MEMBERS", "PARKED", "HEADROOM", "DONE/S",
        "DEAD", "STATE",
    ]

    /// At most `height` lines of `width` columns. `trouble` stands in the first one: why the view is
    /// not from now.
    func lines(width: Int, height: Int, rows: Int?, trouble: String?) -> [String] {
        let top = (trouble.map { [$0] } ?? []) + head + [""]
        let room = max(0, height - top.count - 3)
        // What is wrong is rather seen with groups: topics get a third, and what is left over.
        let below = min(view.topics.count, max(room / 3, room - view.groups.count))
        let groups = Self.part(
            groups.narrowed(to: width, without: Self.spare), rows, room: room - below,
            beyond: view.look.groupsLeftOut)
        let lines = top + groups + [""] + Self.part(topics, rows, room: below)
        return lines.prefix(max(1, height)).map { Shown.cut($0, to: max(1, width)) }
    }

    /// A table's head and so many rows in so many lines, and how many more there are.
    private static func part(
        _ table: Table, _ rows: Int?, room: Int = .max, beyond: Int = 0
    ) -> [String] {
        let count = table.rows.count + beyond
        var shown = min(table.rows.count, rows ?? .max)
        if shown + (shown < count ? 1 : 0) > room { shown = max(0, room - 1) }
        let lines = table.text().split(separator: "\n").map(String.init).prefix(shown + 1)
        return lines + (shown < count ? ["... and \(Shown.count(count - shown)) more"] : [])
    }

    private var head: [String] {
        let status = view.look.status
        let state = status.isWritable ? "" : ", PRODUCERS REFUSED: \(Shown.text(status.reason))"
        let window = view.seconds.map { ", over \(Shown.decimal($0, 1))s" } ?? ""
        return [
            "\(server), \(TimeText.text(view.look.time)), up "
                + Shown.duration(milliseconds: status.uptime.inMilliseconds)
                + ", \(Shown.plural(status.connections, "connection"))\(state)",
            "in: \(Self.rate(view.rates.recordsIn)) records/s, \(Self.bytes(view.rates.bytesIn)); "
                + "out: \(Self.bytes(view.rates.bytesOut))\(window); "
                + "disk: \(Shown.bytes(status.diskAvailable)) free",
        ]
    }

    private var groups: Table {
        var table = Table([
            .left("GROUP"), .left("STATE"), .right("LAG"), .right("LAG/S"), .right("DONE/S"),
            .right("AGE"), .right("HEADROOM"), .right("MEMBERS"), .right("IN FLIGHT"),
            .right("DELAYED"), .right("PARKED"), .right("DEAD"), .right("HANDLER P99"),
        ])
        for group in view.groups {
            let figures = group.figures
            let kind = figures.isQueue ? "queue" : "stream"
            let left = [
                figures.headroom.map { Shown.duration(milliseconds: $0) },
                figures.headroomBytes.map { Shown.bytes($0) },
            ]
            table.add([
                figures.name, group.trouble.map { "\(kind), \($0.word)" } ?? kind,
                Shown.count(figures.lag), Self.signed(group.lagRate), Self.rate(group.doneRate),
                figures.lag == 0 ? "" : Shown.duration(milliseconds: figures.lagTime),
                left.compactMap(\.self).joined(separator: ", "), Shown.count(figures.members),
                figures.isQueue ? Shown.count(figures.inFlight) : "",
                figures.isQueue ? Shown.count(figures.delayed) : "", Shown.count(figures.parked),
                Shown.count(figures.dead),
                figures.handlerTime.map { HandlerTimeView.text($0.p99) } ?? "",
            ])
        }
        return table
    }

    private var topics: Table {
        var table = Table([
            .left("TOPIC"), .right("IN/S"), .right("OUT/S"), .right("PARTITIONS"), .right("SIZE"),
        ])
        for topic in view.topics {
            table.add([
                topic.name, Self.rate(topic.rateIn), Self.rate(topic.rateOut),
                Shown.count(topic.partitions), Shown.bytes(topic.bytes),
            ])
        }
        return table
    }

    /// With a digit behind the point where it matters.
    static func rate(_ value: Double?) -> String {
        guard let value, abs(value) < 1e15 else { return "-" }
        if value == 0 { return "0" }
        return abs(value) < 100 ? Shown.decimal(value, 1) : Shown.count(Int64(value.rounded()))
    }

    private static func signed(_ value: Double?) -> String {
        (value ?? 0) > 0 ? "+\(rate(value))" : rate(value)
    }

    private static func bytes(_ value: Double?) -> String {
        guard let value, abs(value) < 1e18 else { return "- B/s" }
        return Shown.bytes(Int64(value.rounded())) + "/s"
    }
}
