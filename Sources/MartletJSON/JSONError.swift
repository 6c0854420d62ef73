/// Why a text is not JSON, or not JSON that this parser takes, and exactly where.
package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Reason: Equatable, Sendable {
        case expectedValue
        case expected(String)
        case trailingText
        case unexpectedEnd
        case byteOrderMark
        case controlCharacter(UInt8)
        case invalidEscape
        case loneSurrogate
        case invalidUTF8
        case invalidNumber(String)
        case numberOutOfRange
        case duplicateKey(String)
        case tooDeep(limit: Int)
        case tooManyBytes(limit: Int)
        case tooManyValues(limit: Int)
    }

    package let reason: Reason
    /// Both count from 1; the column counts Unicode scalars.
    package let line: Int
    package let column: Int
    /// The same place as a count of bytes from 0.
    package let offset: Int

    package var description: String { "line \(line), column \(column): \(reason)" }
}

extension JSONError.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .expectedValue: "expected a JSON value"
        case .expected(let what): "expected \(what)"
        case .trailingText: "text after the end of the value"
        case .unexpectedEnd: "the text ends inside a value"
        case .byteOrderMark: "JSON must not begin with a byte order mark"
        case .controlCharacter(let byte):
            "control character \(byte) in a string must be written as an escape"
        case .invalidEscape: "invalid escape sequence in a string"
        case .loneSurrogate: "a \\u escape is half of a surrogate pair"
        case .invalidUTF8: "invalid UTF-8"
        case .invalidNumber(let why): "invalid number: \(why)"
        case .numberOutOfRange: "the number is too large for a double"
        case .duplicateKey(let key): "the key '\(key)' comes twice in one object"
        case .tooDeep(let limit): "nested deeper than \(limit) levels"
        case .tooManyBytes(let limit): "longer than \(limit) bytes"
        case .tooManyValues(let limit): "more than \(limit) values"
        }
    }
}

/// What the parser accepts at most, so that a stranger's text cannot cost more than this.
package struct JSONLimits: Sendable {
    package var depth: Int
    package var bytes: Int
    package var values: Int

    package init(depth: Int = 64, bytes: Int = 16 << 20, values: Int = 1 << 20) {
        self.depth = depth
        self.bytes = bytes
        self.values = values
    }
}
