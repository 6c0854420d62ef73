/// Where a value came from. Later ones win over earlier ones.
package enum ConfigurationOrigin: Equatable, Sendable, CustomStringConvertible {
    case builtIn
    case file(name: String, line: Int)
    case environment(variable: String)
    case commandLine(flag: String)

    package var description: String {
        switch self {
        case .builtIn: "default"
        case .file(let name, let line): "\(name):\(line)"
        case .environment(let variable): "environment variable \(variable)"
        case .commandLine(let flag): flag
        }
    }
}

/// One thing that is wrong, and where.
package struct ConfigurationProblem: Error, Equatable, Sendable, CustomStringConvertible {
    package let origin: ConfigurationOrigin
    package let message: String

    package init(_ origin: ConfigurationOrigin, _ message: String) {
        self.origin = origin
        self.message = message
    }

    package var description: String {
        origin == .builtIn ? message : "\(origin): \(message)"
    }
}

/// All that is wrong, so that one run shows everything there is to mend.
package struct ConfigurationFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package let problems: [ConfigurationProblem]

    package init(_ problems: [ConfigurationProblem]) {
        self.problems = problems
    }

    /// One line per problem.
    package var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}
