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
        return "\(times.count) calls, "
            + parts.map { "\($0) \(text($1))" }.joined(separator: ", ")
    }

    static func json(_ times: HandlerTimeSummary) -> JSONValue {
        [
            "count": JSONValue(times.count), "meanSeconds": seconds(times.mean),
            "p50Seconds": seconds(times.p50), "p99Seconds": seconds(times.p99),
            "maxSeconds": seconds(times.max),
        ]
    }

    private static func seconds(_ time: Duration) -> JSONValue { .double(time / .seconds(1)) }

    private static func text(_ time: Duration) -> String {
        time < .seconds(1)
            ? "\(Shown.decimal(time / .milliseconds(1), 1))ms"
            : Shown.duration(milliseconds: time.inMilliseconds)
    }
}
