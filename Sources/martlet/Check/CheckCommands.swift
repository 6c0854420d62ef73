import MartletClient
import MartletConfiguration

/// `martlet check ...`: what a monitoring system runs, with its exit codes.
enum CheckCommands {
    static let group: Command = Command(
        "check", "Checks for a monitoring system: one line, and exit code 0, 1, 2 or 3.",
        discussion: [
            "0 is ok, 1 a warning, 2 critical, 3 unknown: the broker does not answer, or there is "
                + "no such thing. Behind the bar in the line stand the figures with their bounds."
        ],
        examples: [
            ExampleSpec(
                "martlet check group-lag board --warn 1000 --crit 100000", "Does it keep up?")
        ],
        commands: [GroupLagCheck.command])
}

/// What a check found. The numbers are those that monitoring systems agree on, not the tool's own.
enum CheckState: Int, Comparable {
    case ok
    case warning
    case critical
    case unknown

    static func < (left: CheckState, right: CheckState) -> Bool { left.rawValue < right.rawValue }

    var word: String {
        switch self {
        case .ok: "OK"
        case .warning: "WARNING"
        case .critical: "CRITICAL"
        case .unknown: "UNKNOWN"
        }
    }

    /// The one of the tool's codes that has this number.
    var exitCode: ToolExitCode {
        switch self {
        case .ok: .ok
        case .warning: .failure
        case .critical: .usage
        case .unknown: .notFound
        }
    }
}

/// A figure, and where it begins to be too much.
struct CheckFigure {
    let name: String
    let value: Int64
    var unit = ""
    var warning: Int64?
    var critical: Int64?
    /// The smaller it is, the worse.
    var isWorseBelow = false

    var state: CheckState {
        if let critical, isBeyond(critical) { return .critical }
        if let warning, isBeyond(warning) { return .warning }
        return .ok
    }

    private func isBeyond(_ bound: Int64) -> Bool {
        isWorseBelow ? value < bound : value > bound
    }

    /// `lag=12;100;1000;0`; a bound with a colon is one from below.
    var text: String {
        let colon = isWorseBelow ? ":" : ""
        let bounds = [warning, critical].map { $0.map { "\($0)\(colon)" } ?? "" }
        return "\(name)=\(value)\(unit);\(bounds[0]);\(bounds[1]);0"
    }
}
