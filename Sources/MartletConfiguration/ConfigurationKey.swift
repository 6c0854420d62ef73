/// What a key takes.
package enum ConfigurationKind: Equatable, Sendable {
    case boolean
    case integer(ClosedRange<Int64>)
    /// With `forever`, -1 is taken as well.
    case bytes(ClosedRange<Int64>, forever: Bool = false)
    case duration(ClosedRange<Int64>, forever: Bool = false)
    case rate(ClosedRange<Int64>)
    case choice([String])
    case address
    case path

    /// The number that a text stands for; only for the four kinds that are numbers.
    func number(_ text: String) throws(UnitError) -> Int64 {
        let value: Int64
        let range: ClosedRange<Int64>
        var allowsForever = false
        switch self {
        case .integer(let allowed): (value, range) = (try Units.integer(text), allowed)
        case .rate(let allowed): (value, range) = (try Units.perSecond(text), allowed)
        case .bytes(let allowed, let forever):
            if forever, Self.isForever(text) { return Units.forever }
            (value, range, allowsForever) = (try Units.bytes(text), allowed, forever)
        case .duration(let allowed, let forever):
            if forever, Self.isForever(text) { return Units.forever }
            (value, range, allowsForever) = (try Units.milliseconds(text), allowed, forever)
        case .boolean, .choice, .address, .path:
            throw UnitError("\(Quoted(text)) is not a number")
        }
        guard range.contains(value) else {
            let orForever = allowsForever ? ", or -1 for ever" : ""
            let limits = "\(format(range.lowerBound)) to \(format(range.upperBound))"
            throw UnitError("\(Quoted(text)) is outside of \(limits)\(orForever)")
        }
        return value
    }

    private static func isForever(_ text: String) -> Bool { text == "-1" || text == "forever" }

    /// The text that `number` reads back.
    func format(_ value: Int64) -> String {
        guard value >= 0 else { return "\(value)" }
        return switch self {
        case .bytes: Units.format(bytes: value)
        case .duration: Units.format(milliseconds: value)
        case .rate: Units.format(perSecond: value)
        case .integer, .boolean, .choice, .address, .path: "\(value)"
        }
    }

    /// The sentence of the manual that says what to write.
    package var meaning: String {
        func span(_ range: ClosedRange<Int64>, _ forever: Bool = false) -> String {
            let end = forever ? ", or -1 for ever" : ""
            return "\(format(range.lowerBound)) to \(format(range.upperBound))\(end)"
        }
        return switch self {
        case .boolean: "true or false"
        case .integer(let range): "a whole number, \(span(range))"
        case .bytes(let range, let forever): "bytes, \(span(range, forever))"
        case .duration(let range, let forever): "a time, \(span(range, forever))"
        case .rate(let range): "a rate, \(span(range))"
        case .choice(let words): "one of: \(words.joined(separator: " | "))"
        case .address: "HOST:PORT; port 0 picks a free one"
        case .path: "a path"
        }
    }
}

/// One row of the table: a key, what it takes, and where its value lives.
package struct ConfigurationKey: Sendable {
    package let section: String
    package let name: String
    package let kind: ConfigurationKind
    /// Whether SIGHUP takes a new value, or only a restart does.
    package let isReloadable: Bool
    /// Sentences for the manual.
    package let documentation: String
    private let read: @Sendable (BrokerConfiguration) -> String
    private let write: @Sendable (inout BrokerConfiguration, String) throws(UnitError) -> Void

    /// The name that messages use: `[listener] idle.timeout`.
    package var title: String { "[\(section)] \(name)" }

    /// `MARTLET_LISTENER_IDLE_TIMEOUT`.
    package var environmentVariable: String {
        let name = "MARTLET_\(section)_\(name)".uppercased()
        return String(name.map { $0 == "." || $0 == "-" ? "_" : $0 })
    }

    /// The canonical text of the value in a configuration: `apply` reads it back.
    package func text(in configuration: BrokerConfiguration) -> String { read(configuration) }

    /// The default as the manual shows it.
    package var defaultText: String { read(BrokerConfiguration()) }

    package func apply(
        _ text: String,
        to configuration: inout BrokerConfiguration
    ) throws(UnitError) {
        try write(&configuration, text)
    }
}

extension ConfigurationKey {
    /// Where in the configuration a value lives.
    typealias Place<Value> = any WritableKeyPath<BrokerConfiguration, Value> & Sendable

    /// A value that is a number of some unit.
    static func number<Number: FixedWidthInteger & SendableMetatype>(
        _ title: (section: String, name: String),
        _ path: Place<Number>,
        _ kind: ConfigurationKind,
        reloadable: Bool = false,
        _ documentation: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            section: title.section,
            name: title.name,
            kind: kind,
            isReloadable: reloadable,
            documentation: documentation,
            read: { kind.format(Int64($0[keyPath: path])) },
            write: { (configuration, text) throws(UnitError) in
                guard let value = Number(exactly: try kind.number(text)) else {
                    throw UnitError("\(Quoted(text)) is too large")
                }
                configuration[keyPath: path] = value
            }
        )
    }

    static func boolean(
        _ title: (section: String, name: String),
        _ path: Place<Bool>,
        reloadable: Bool = false,
        _ documentation: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            section: title.section,
            name: title.name,
            kind: .boolean,
            isReloadable: reloadable,
            documentation: documentation,
            read: { $0[keyPath: path] ? "true" : "false" },
            write: { (configuration, text) throws(UnitError) in
                configuration[keyPath: path] = try Units.boolean(text)
            }
        )
    }

    static func choice(
        _ title: (section: String, name: String),
        _ path: Place<String>,
        _ words: [String],
        reloadable: Bool = false,
        _ documentation: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            section: title.section,
            name: title.name,
            kind: .choice(words),
            isReloadable: reloadable,
            documentation: documentation,
            read: { $0[keyPath: path] },
            write: { (configuration, text) throws(UnitError) in
                guard words.contains(text) else {
                    let hint = NearestName.suggestion(for: text, in: words)
                    let list = words.joined(separator: ", ")
                    throw UnitError("\(Quoted(text)) is not one of \(list)\(hint)")
                }
                configuration[keyPath: path] = text
            }
        )
    }

    static func address(
        _ title: (section: String, name: String),
        _ path: Place<HostPort>,
        _ documentation: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            section: title.section,
            name: title.name,
            kind: .address,
            isReloadable: false,
            documentation: documentation,
            read: { $0[keyPath: path].description },
            write: { (configuration, text) throws(UnitError) in
                configuration[keyPath: path] = try HostPort(parsing: text)
            }
        )
    }

    static func path(
        _ title: (section: String, name: String),
        _ path: Place<String>,
        _ documentation: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            section: title.section,
            name: title.name,
            kind: .path,
            isReloadable: false,
            documentation: documentation,
            read: { $0[keyPath: path] },
            write: { (configuration, text) throws(UnitError) in
                guard !text.isEmpty, text.utf8.count <= 1_024, !text.utf8.contains(0) else {
                    throw UnitError("\(Quoted(text)) is not a path")
                }
                configuration[keyPath: path] = text
            }
        )
    }
}
