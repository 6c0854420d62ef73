/// How much a line matters. A logger writes its own level and everything above it.
package enum LogLevel: Int, Comparable, CaseIterable, Sendable {
    case debug
    case info
    case notice
    case warning
    case error

    package var name: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .notice: "notice"
        case .warning: "warning"
        case .error: "error"
        }
    }

    package init?(name: some StringProtocol) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }

    package static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// The stable name of an event, such as `LISTENER_STARTED`: alerts and tests look for it, so it
/// never changes once released. Only a literal makes one, so that no foreign text becomes a code.
package struct LogCode: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package let description: String

    package init(stringLiteral value: StaticString) {
        description = value.description
    }
}

/// A value beside a message. Foreign text (topic names, addresses, paths) belongs here and not
/// into the message: here it is quoted and escaped as a whole.
package enum LogValue: Equatable, Sendable {
    case string(String)
    case integer(Int64)
    case unsigned(UInt64)
    case double(Double)
    case boolean(Bool)

    package init(_ value: some FixedWidthInteger) {
        if let small = Int64(exactly: value) {
            self = .integer(small)
        } else if let large = UInt64(exactly: value) {
            self = .unsigned(large)
        } else {
            self = .string("\(value)")
        }
    }

    package init(_ value: some CustomStringConvertible) {
        self = .string(value.description)
    }
}

extension LogValue: ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(booleanLiteral value: Bool) { self = .boolean(value) }
}

/// Names are chosen by the code, values may come from anywhere.
package typealias LogFields = [(String, LogValue)]

/// Everything one line says, before it becomes text.
package struct LogEvent: Sendable {
    package let level: LogLevel
    package let wallMilliseconds: Int64
    package let label: String
    package let code: LogCode
    package let message: String
    package let fields: LogFields

    package subscript(field: String) -> LogValue? {
        fields.last { $0.0 == field }?.1
    }
}
