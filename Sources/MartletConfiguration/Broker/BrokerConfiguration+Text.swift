extension BrokerConfiguration {
    /// The reference manual `config/martlet.conf`: every key with what it takes and its
    /// default, commented out. A test holds the file to this text.
    package static var manual: String {
        var text = introduction
        for section in sections {
            text += "\n" + comment(section.documentation)
            text += "[\(section.name)]\n"
            for key in section.keys {
                text += "\n" + comment(key.documentation)
                let reload = key.isReloadable ? "; reload" : ""
                text += comment("Takes \(key.kind.meaning)\(reload).")
                text += "#\(key.name) = \(key.defaultText)\n"
            }
        }
        return text
    }

    private static let introduction = """
        # Martlet: configuration and reference manual.
        #
        # Every key stands here with its default. To change one, take away the '#' in front of it.
        #
        # Syntax: 'key = value' below its [section]. A '#' at the start of a line or after white
        # space begins a comment. Values with a '#', a quote or white space at an end go into
        # "quotes", with \\" \\\\ \\n \\t inside. Sizes: B, KiB, MiB, GiB, TiB. Times: ms, s,
        # m, h, d. Without end: -1 or forever. An unknown or repeated key is an error;
        # `martletd --config FILE --check` finds it without a start.
        #
        # Each key can also be set by an environment variable: MARTLET_<SECTION>_<KEY> in
        # capitals, with '_' for '.' and '-', such as MARTLET_LISTENER_IDLE_TIMEOUT=5m. The
        # environment wins over this file, and the command line (--listen, --admin, --data) over
        # the environment.
        #
        # "reload" marks the keys that SIGHUP takes over from this file; others need a restart.

        """

    /// `# ` lines of at most 100 columns.
    private static func comment(_ sentences: String) -> String {
        WrappedText.lines(sentences, width: 98).map { "# \($0)\n" }.joined()
    }
}

extension LoadedConfiguration {
    /// What is in force, in the syntax of the file, each value with where it came from:
    /// `martletd --check` prints it.
    package var effectiveText: String {
        var text = ""
        for section in BrokerConfiguration.sections {
            text += text.isEmpty ? "[\(section.name)]\n" : "\n[\(section.name)]\n"
            let rows = section.keys.map { key in
                ("\(key.name) = \(Self.written(key.text(in: configuration)))", origin(of: key))
            }
            let width = rows.map { $0.0.count }.max() ?? 0
            for (setting, origin) in rows {
                let space = String(repeating: " ", count: width - setting.count)
                text += "\(setting)\(space)  # \(origin)\n"
            }
        }
        return text
    }

    /// In quotes when the parser would not read it back otherwise.
    private static func written(_ value: String) -> String {
        let needsQuotes =
            value.isEmpty || value.first == " " || value.last == " "
            || value.unicodeScalars.contains { "\"#\\\n\t".unicodeScalars.contains($0) }
        guard needsQuotes else { return value }
        var quoted = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case _: quoted.unicodeScalars.append(scalar)
            }
        }
        return "\"\(quoted)\""
    }
}

/// A key whose value a reload would change.
package struct ConfigurationChange: Sendable {
    package let key: ConfigurationKey
    package let before: String
    package let after: String
}

extension BrokerConfiguration {
    /// What differs in another configuration. The caller takes over the reloadable keys with
    /// `takingReloadable(from:)` and says of the others that they wait for a restart.
    package func changes(to other: BrokerConfiguration) -> [ConfigurationChange] {
        Self.keys.compactMap { key in
            let before = key.text(in: self)
            let after = key.text(in: other)
            return before == after
                ? nil : ConfigurationChange(key: key, before: before, after: after)
        }
    }

    /// This configuration with the reloadable keys of another one.
    package func takingReloadable(
        from other: BrokerConfiguration
    ) throws(ConfigurationFailure) -> BrokerConfiguration {
        var result = self
        for change in changes(to: other) where change.key.isReloadable {
            do throws(UnitError) {
                try change.key.apply(change.after, to: &result)
            } catch {
                let message = "\(change.key.title): \(error)"
                throw ConfigurationFailure([ConfigurationProblem(.builtIn, message)])
            }
        }
        let complaints = result.combinationProblems
        guard complaints.isEmpty else {
            throw ConfigurationFailure(complaints.map { ConfigurationProblem(.builtIn, $0) })
        }
        return result
    }
}
