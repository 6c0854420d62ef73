import Glibc

/// The text of a configuration file with its name, as the user gave it.
package struct ConfigurationFile: Sendable {
    package let name: String
    package let bytes: [UInt8]

    package static let bytesMax = 1 << 20

    package init(name: String, bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }

    /// Reads a file from disk; anything larger than `bytesMax` is no configuration.
    package init(reading path: String) throws(ConfigurationFailure) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.unreadable(path, errno) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= Self.bytesMax {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.unreadable(path, errno) }
            if count == 0 { break }
            bytes += chunk.prefix(count)
        }
        self.init(name: path, bytes: bytes)
    }

    private static func unreadable(_ path: String, _ code: CInt) -> ConfigurationFailure {
        let reason = unsafe String(cString: strerror(code))
        let message = "cannot read the configuration file \(Quoted(path)): \(reason)"
        return ConfigurationFailure([ConfigurationProblem(.builtIn, message)])
    }
}

/// `key = value` below its `[section]`.
package struct ConfigurationEntry: Equatable, Sendable {
    package let section: String
    package let key: String
    package let value: String
    package let line: Int
}

extension ConfigurationFile {
    /// Splits the text into entries, in order. Knows nothing of which keys exist.
    ///
    ///     # comment
    ///     [section]
    ///     key = value         # comment: a '#' after white space ends the value
    ///     key = "a # value"   # in quotes: \" \\ \n \t
    package func parse() -> (entries: [ConfigurationEntry], problems: [ConfigurationProblem]) {
        guard bytes.count <= Self.bytesMax else {
            let message = "\(name) is larger than \(Units.format(bytes: Int64(Self.bytesMax)))"
            return ([], [ConfigurationProblem(.builtIn, message)])
        }
        var parser = LineParser(name: name)
        for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
            parser.parse(line: line)
        }
        return (parser.entries, parser.problems)
    }
}

/// Takes one line after the other; a bad line is noted and the next one is read.
private struct LineParser {
    let name: String
    var entries: [ConfigurationEntry] = []
    var problems: [ConfigurationProblem] = []
    private var section: String?
    private var number = 0
    /// `section` and `key` to the line that set it.
    private var seen: [[String]: Int] = [:]

    static let problemsMax = 100

    init(name: String) {
        self.name = name
    }

    mutating func parse(line bytes: ArraySlice<UInt8>) {
        number += 1
        guard problems.count < Self.problemsMax else { return }
        do throws(UnitError) {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw UnitError("the line is not valid UTF-8")
            }
            try parse(trimmed(text[...]))
        } catch {
            problems.append(
                ConfigurationProblem(.file(name: name, line: number), error.description))
        }
    }

    private mutating func parse(_ line: Substring) throws(UnitError) {
        guard let first = line.unicodeScalars.first, first != "#" else { return }
        guard first != "\u{FEFF}" else { throw UnitError("remove the byte order mark") }
        guard
            !line.unicodeScalars.contains(where: {
                $0.value < 0x20 && $0 != "\t" || $0.value == 0x7F
            })
        else { throw UnitError("the line holds a control character") }
        if first == "[" {
            try parseSection(line)
        } else {
            try parseEntry(line)
        }
    }

    private mutating func parseSection(_ line: Substring) throws(UnitError) {
        section = nil
        guard let end = line.unicodeScalars.firstIndex(of: "]") else {
            throw UnitError("the section has no closing ']'")
        }
        let name = trimmed(line[line.unicodeScalars.index(after: line.startIndex)..<end])
        let rest = trimmed(line[line.unicodeScalars.index(after: end)...])
        guard rest.isEmpty || rest.unicodeScalars.first == "#" else {
            throw UnitError("text after the section: \(Quoted(rest))")
        }
        guard !name.isEmpty else { throw UnitError("the section has no name") }
        section = String(name)
    }

    private mutating func parseEntry(_ line: Substring) throws(UnitError) {
        guard let equals = line.unicodeScalars.firstIndex(of: "=") else {
            throw UnitError("expected 'key = value' or '[section]', found \(Quoted(line))")
        }
        let key = String(trimmed(line[..<equals]))
        guard !key.isEmpty else { throw UnitError("there is no key before '='") }
        let value = try value(trimmed(line[line.unicodeScalars.index(after: equals)...]), of: key)
        guard let section else {
            throw UnitError("the key \(Quoted(key)) stands in no section; write [section] above it")
        }
        if let before = seen[[section, key]] {
            throw UnitError(
                "\(Quoted(key)) is set twice in [\(section)]; the first is line \(before)")
        }
        seen[[section, key]] = number
        entries.append(ConfigurationEntry(section: section, key: key, value: value, line: number))
    }

    private func value(_ text: Substring, of key: String) throws(UnitError) -> String {
        if text.unicodeScalars.first == "\"" { return try quoted(text) }
        var end = text.unicodeScalars.startIndex
        var afterSpace = true
        for index in text.unicodeScalars.indices {
            let scalar = text.unicodeScalars[index]
            if scalar == "#", afterSpace { break }
            afterSpace = scalar == " " || scalar == "\t"
            end = text.unicodeScalars.index(after: index)
        }
        let value = trimmed(text[..<end])
        guard !value.isEmpty else { throw UnitError("\(Quoted(key)) has no value") }
        guard !value.unicodeScalars.contains("\"") else {
            throw UnitError(
                "a quote inside a value: put the whole value into quotes, with \\\" inside")
        }
        return String(value)
    }

    /// From the opening quote to the end of the line.
    private func quoted(_ text: Substring) throws(UnitError) -> String {
        var result = ""
        var rest = text.unicodeScalars.dropFirst()
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\"":
                let tail = trimmed(Substring(rest))
                guard tail.isEmpty || tail.unicodeScalars.first == "#" else {
                    throw UnitError("text after the closing quote: \(Quoted(tail))")
                }
                return result
            case "\\":
                switch rest.popFirst() {
                case "\"": result.append("\"")
                case "\\": result.append("\\")
                case "n": result.append("\n")
                case "t": result.append("\t")
                case _: throw UnitError("unknown escape in quotes; there are \\\" \\\\ \\n \\t")
                }
            case _: result.unicodeScalars.append(scalar)
            }
        }
        throw UnitError("the closing quote is missing")
    }

    /// Without the spaces, tabs and carriage returns at both ends.
    private func trimmed(_ text: Substring) -> Substring {
        var scalars = text.unicodeScalars
        while let first = scalars.first, Self.isSpace(first) { scalars.removeFirst() }
        while let last = scalars.last, Self.isSpace(last) { scalars.removeLast() }
        return Substring(scalars)
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == " " || scalar == "\t" || scalar == "\r"
    }
}
