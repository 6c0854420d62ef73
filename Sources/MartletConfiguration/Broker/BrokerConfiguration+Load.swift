/// A value that a command-line flag sets.
package struct ConfigurationOverride: Equatable, Sendable {
    /// As the user knows it: `--listen`.
    package let flag: String
    package let section: String
    package let key: String
    package let value: String

    package init(flag: String, section: String, key: String, value: String) {
        self.flag = flag
        self.section = section
        self.key = key
        self.value = value
    }
}

/// A configuration that holds together, and where each value came from.
package struct LoadedConfiguration: Sendable {
    package let configuration: BrokerConfiguration
    private let origins: [String: ConfigurationOrigin]

    init(configuration: BrokerConfiguration, origins: [String: ConfigurationOrigin]) {
        self.configuration = configuration
        self.origins = origins
    }

    package func origin(of key: ConfigurationKey) -> ConfigurationOrigin {
        origins[key.title] ?? .builtIn
    }
}

extension BrokerConfiguration {
    /// Lays the sources over each other: defaults, file, environment, command line.
    ///
    /// - Parameter environment: the whole environment; what is none of Martlet's is passed over.
    /// - Throws: everything that is wrong, not only the first.
    package static func load(
        file: ConfigurationFile? = nil,
        environment: [String: String] = [:],
        overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationFailure) -> LoadedConfiguration {
        var loader = Loader()
        if let file { loader.apply(file) }
        loader.apply(environment: environment)
        for override in overrides { loader.apply(override) }
        if loader.problems.isEmpty { loader.checkCombinations() }
        guard loader.problems.isEmpty else { throw ConfigurationFailure(loader.problems) }
        return LoadedConfiguration(configuration: loader.configuration, origins: loader.origins)
    }

    /// Variables that begin with `MARTLET_` and are no keys.
    static let otherVariables = [
        "MARTLET_SERVER", "MARTLET_FAILPOINT", "MARTLET_SEED", "MARTLET_PLANT",
    ]
    static let otherVariablePrefixes = ["MARTLET_FUZZ_"]

    /// Whether a container platform made the variable, for a service whose name begins with
    /// `martlet`: NAME_SERVICE_HOST, NAME_SERVICE_PORT, NAME_SERVICE_PORT_label, NAME_PORT,
    /// NAME_PORT_7700_TCP, NAME_PORT_7700_TCP_ADDR (the variables of Docker's links and Kubernetes).
    static func isOfService(_ name: String) -> Bool {
        let words = name.split(separator: "_")
        guard let last = words.last else { return false }
        if words.suffix(2) == ["SERVICE", "HOST"] || last == "PORT" { return true }
        return words.indices.dropFirst().contains { index in
            let rest = words[index...]
            if rest.starts(with: ["SERVICE", "PORT"]) { return true }
            guard rest.count >= 3, rest.first == "PORT" else { return false }
            let number = rest[index + 1]
            return UInt16(number) != nil && ["TCP", "UDP", "SCTP"].contains(rest[index + 2])
        }
    }
}

private struct Loader {
    var configuration = BrokerConfiguration()
    var origins: [String: ConfigurationOrigin] = [:]
    private(set) var problems: [ConfigurationProblem] = []

    /// Enough to see what is wrong; the search for near names has its price.
    private static let problemsMax = 100

    mutating func apply(_ file: ConfigurationFile) {
        let (entries, problems) = file.parse()
        self.problems += problems
        for entry in entries where self.problems.count < Self.problemsMax {
            set(
                section: entry.section, key: entry.key, to: entry.value,
                from: .file(name: file.name, line: entry.line))
        }
    }

    mutating func apply(environment: [String: String]) {
        let keys = Dictionary(
            uniqueKeysWithValues: BrokerConfiguration.keys.map { ($0.environmentVariable, $0) })
        for (name, value) in environment.sorted(by: { $0.key < $1.key })
        where name.hasPrefix("MARTLET_") {
            if let key = keys[name] {
                set(key, to: value, from: .environment(variable: name))
            } else if !Self.isKnownElsewhere(name) {
                let hint = NearestName.suggestion(for: name, in: keys.keys)
                let message = "unknown environment variable \(Quoted(name))\(hint)"
                problems.append(ConfigurationProblem(.builtIn, message))
            }
        }
    }

    private static func isKnownElsewhere(_ name: String) -> Bool {
        BrokerConfiguration.otherVariables.contains(name)
            || BrokerConfiguration.otherVariablePrefixes.contains { name.hasPrefix($0) }
            || BrokerConfiguration.isOfService(name)
    }

    mutating func apply(_ override: ConfigurationOverride) {
        set(
            section: override.section, key: override.key, to: override.value,
            from: .commandLine(flag: override.flag))
    }

    private mutating func set(
        section: String,
        key name: String,
        to value: String,
        from origin: ConfigurationOrigin
    ) {
        if let key = BrokerConfiguration.key(section, name) {
            set(key, to: value, from: origin)
        } else {
            problems.append(ConfigurationProblem(origin, Self.unknown(section, name)))
        }
    }

    private mutating func set(
        _ key: ConfigurationKey,
        to value: String,
        from origin: ConfigurationOrigin
    ) {
        do throws(UnitError) {
            try key.apply(value, to: &configuration)
            origins[key.title] = origin
        } catch {
            problems.append(ConfigurationProblem(origin, "\(key.title): \(error)"))
        }
    }

    /// Names the nearest key of the section, or the section where the key does stand.
    private static func unknown(_ section: String, _ name: String) -> String {
        let sections = BrokerConfiguration.sections
        guard let known = sections.first(where: { $0.name == section }) else {
            let hint = NearestName.suggestion(for: section, in: sections.map(\.name))
            return "unknown section [\(Quoted(section).bare)]\(hint)"
        }
        let message = "unknown key \(Quoted(name)) in [\(section)]"
        if let near = NearestName.find(name, in: known.keys.map(\.name)) {
            return "\(message); did you mean '\(near)'?"
        }
        if let home = sections.first(where: { $0.keys.contains { $0.name == name } }) {
            return "\(message); it belongs to [\(home.name)]"
        }
        return message
    }

    mutating func checkCombinations() {
        for complaint in configuration.combinationComplaints() {
            let origins = complaint.keys.map { self.origins[$0] ?? .builtIn }
            // The source that was laid last is the one that made the combination.
            let origin = origins.max { $0.rank < $1.rank } ?? .builtIn
            problems.append(ConfigurationProblem(origin, complaint.message))
        }
    }
}

extension ConfigurationOrigin {
    fileprivate var rank: (Int, Int) {
        switch self {
        case .builtIn: (0, 0)
        case .file(_, let line): (1, line)
        case .environment: (2, 0)
        case .commandLine: (3, 0)
        }
    }
}
