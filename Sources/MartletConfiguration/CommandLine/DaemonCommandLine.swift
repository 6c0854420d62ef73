/// The command line of `martletd`.
package struct DaemonCommandLine: Equatable, Sendable {
    package enum Request: Equatable, Sendable {
        case run(DaemonCommandLine)
        case help(String)
        case version
    }

    /// The file to read; nil takes the built-in defaults.
    package let configurationFile: String?
    package let overrides: [ConfigurationOverride]
    package let readyFile: String?
    /// Only say what the configuration is, and whether it is right.
    package let isCheck: Bool

    package static func parse(
        _ words: some Collection<String>
    ) throws(CommandLineError) -> Request {
        switch try specification.parse(words) {
        case .help(let text): return .help(text)
        case .run(let invocation):
            guard !invocation.has("version") else { return .version }
            return .run(DaemonCommandLine(invocation))
        }
    }

    private init(_ invocation: Invocation) {
        configurationFile = invocation.value("config")
        readyFile = invocation.value("ready-file")
        isCheck = invocation.has("check")
        overrides = Self.overridingFlags.compactMap { flag, section, key in
            invocation.value(flag).map {
                ConfigurationOverride(flag: "--\(flag)", section: section, key: key, value: $0)
            }
        }
    }

    private static let overridingFlags = [
        ("data", "storage", "data"), ("listen", "listener", "listen"), ("admin", "admin", "listen"),
    ]

    private static let defaults = BrokerConfiguration()

    package static let specification = CommandSpec(
        "martletd",
        "The Martlet event broker.",
        discussion: [
            "Runs in the foreground and logs to standard error. SIGTERM and SIGINT finish the "
                + "requests in flight and end it; SIGHUP reads the configuration file again.",
            "Exit codes: "
                + DaemonExitCode.allCases.map { "\($0.rawValue) \($0.meaning)" }
                .joined(separator: "; ") + ".",
        ],
        flags: [
            FlagSpec(
                "config", short: "c", value: "FILE",
                "Read the configuration from FILE; without it the defaults hold."),
            FlagSpec(
                "data", value: "DIR",
                "Keep the data in DIR, made when missing: [storage] data; \(defaults.storage.data)."
            ),
            FlagSpec(
                "listen", value: "HOST:PORT",
                "Take clients at HOST:PORT, port 0 picks one: [listener] listen; "
                    + "\(defaults.listener.listen)."),
            FlagSpec(
                "admin", value: "HOST:PORT",
                "Serve metrics and health at HOST:PORT, port 0 picks one: [admin] listen; "
                    + "\(defaults.admin.listen)."),
            FlagSpec(
                "ready-file", value: "FILE",
                "Write the addresses and the process id to FILE as JSON once the broker serves."),
            FlagSpec(
                "check",
                "Print the configuration in force, each value with its origin, and exit; 78 "
                    + "if it is wrong."
            ),
            FlagSpec("version", "Print the version and exit."),
        ],
        examples: [
            ExampleSpec("martletd --config /etc/martlet/martlet.conf", "Run with a configuration"),
            ExampleSpec(
                "martletd --data /tmp/martlet --listen 127.0.0.1:0 --ready-file /tmp/martlet.ready",
                "Try it out on a free port"),
            ExampleSpec(
                "martletd --config martlet.conf --check", "Look at a configuration before a restart"
            ),
        ]
    )
}
