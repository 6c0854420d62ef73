/// What `martlet` ends with.
package enum ToolExitCode: Int32, CaseIterable, Sendable {
    case ok = 0
    case failure = 1
    /// A usage error, or a check that failed.
    case usage = 2
    case notFound = 3
    case refused = 4
    case timeout = 5
    case conflict = 6
    case unreachable = 7

    package var meaning: String {
        switch self {
        case .ok: "ok"
        case .failure: "failure"
        case .usage: "usage error, or a check failed"
        case .notFound: "not found"
        case .refused: "refused"
        case .timeout: "timeout"
        case .conflict: "conflict"
        case .unreachable: "broker not reachable"
        }
    }
}

/// What `martletd` ends with: the numbers of `sysexits.h`.
package enum DaemonExitCode: Int32, CaseIterable, Sendable {
    case ok = 0
    case usage = 64
    case storage = 74
    case configuration = 78

    package var meaning: String {
        switch self {
        case .ok: "ok, after SIGTERM or SIGINT"
        case .usage: "usage error"
        case .storage: "the storage failed"
        case .configuration: "the configuration is wrong"
        }
    }
}
