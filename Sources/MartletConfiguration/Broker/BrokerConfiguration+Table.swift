/// A group of keys under one `[name]`.
package struct ConfigurationSection: Sendable {
    package let name: String
    /// Sentences for the manual.
    package let documentation: String
    package let keys: [ConfigurationKey]
}

/// The table. Parsing, `--check`, reload and the reference manual `config/martlet.conf` all read
/// it, so that a key is described once.
extension BrokerConfiguration {
    package static let sections = [
        listenerSection, adminSection, storageSection, topicSection, logSection,
    ]

    package static let keys = sections.flatMap(\.keys)

    package static func key(_ section: String, _ name: String) -> ConfigurationKey? {
        keys.first { $0.section == section && $0.name == name }
    }

    static let second: Int64 = 1_000
    static let minute = 60 * second
    static let hour = 60 * minute
    static let day = 24 * hour
    static let century = 36_525 * day
    static let kibibyte: Int64 = 1 << 10
    static let mebibyte: Int64 = 1 << 20
    static let gibibyte: Int64 = 1 << 30
    static let tebibyte: Int64 = 1 << 40

    private static let adminSection = ConfigurationSection(
        name: "admin",
        documentation: "The HTTP listener for /metrics, /healthz and /readyz.",
        keys: [
            .address(
                ("admin", "listen"), \.admin.listen,
                "Where the admin listener takes connections."),
            .boolean(
                ("admin", "allow-anonymous"), \.admin.allowAnonymous,
                "Must be true when `listen` is not a loopback address: the admin listener has "
                    + "no authentication, and whoever can reach it can read the names of all "
                    + "topics."
            ),
            .number(
                ("admin", "connections.max"), \.admin.connectionsMax, .integer(1...10_000),
                "Connections at a time; further ones are closed at once."),
            .number(
                ("admin", "request.timeout"), \.admin.requestTimeoutMilliseconds,
                .duration(100...10 * minute),
                "How long a request may take from the first byte read to the last byte written."),
        ]
    )

    private static let logSection = ConfigurationSection(
        name: "log",
        documentation: "The log goes to standard error, one line per event.",
        keys: [
            .choice(
                ("log", "level"), \.log.level, ["debug", "info", "notice", "warning", "error"],
                reloadable: true,
                "The lowest level that is written."),
            .choice(
                ("log", "format"), \.log.format, ["text", "json"],
                "Lines for people, or one JSON object a line."),
        ]
    )
}
