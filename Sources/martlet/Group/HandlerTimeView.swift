import MartletClient
import MartletJSON

/// How long a group's handlers ran.
enum HandlerTimeView {
    /// nil: nobody said.
    static func text(_ times: HandlerTimeSummary) -> String? {
        guard times.count > 0 else { return nil }
        let parts = [
            ("mean", times.mean), ("p50", times.p50), ("p99", times.p99), ("max", times.max),
        ]
        return "\(Shown.plural(times.count, "call")), "
            + parts.map { "\($0) \(text($1))" }.joined(separator: ", ")
    }

    /// By types of events; nil: no record named one.
    static func table(_ times: [String: HandlerTimeSummary]) -> Table? {
        guard times.keys.contains(where: { !$0.isEmpty }) else { return nil }
        var table = Table([
            .left("HANDLERS OF TYPE"), .right("CALLS"), .right("MEAN"), .right("P50"),
            .right("P99"), .right("MAX"),
        ])
        for (type, times) in times.sorted(by: { $0.key < $1.key }) {
            table.add([
                type, "\(times.count)", text(times.mean), text(times.p50), text(times.p99),
                text(times.max),
            ])
        }
        return table
    }

    /// Records without a type have null.
    static func json(_ times: [String: HandlerTimeSummary]) -> JSONValue {
        .array(
            times.sorted { $0.key < $1.key }.map { type, times in
                var object: JSONObject = ["type": type.isEmpty ? .null : .string(type)]
                for (name, value) in fields(times) { object[name] = value }
                return .object(object)
            })
    }

    static func json(_ times: HandlerTimeSummary) -> JSONValue {
        var object: JSONObject = [:]
        for (name, value) in fields(times) { object[name] = value }
        return .object(object)
    }

    private static func fields(_ times: HandlerTimeSummary) -> [(String, JSONValue)] {
        [
            ("count", JSONValue(times.count)), ("meanSeconds", seconds(times.mean)),
            ("p50Seconds", seconds(times.p50)), ("p99Seconds", seconds(times.p99)),
            ("maxSeconds", seconds(times.max)),
        ]
    }

    private static func seconds(_ time: Duration) -> JSONValue { .double(time / .seconds(1)) }

    static func text(_ time: Duration) -> String {
        time < .seconds(1)
            ? "\(Shown.decimal(time / .milliseconds(1), 1))ms"
            : Shown.duration(milliseconds: time.inMilliseconds)
    }
}
