extension JSONValue {
    /// Reads exactly one value, with white space around it: RFC 8259 and nothing more lenient.
    /// A key that comes twice in an object is refused, because readers disagree on what it means.
    package init(
        parsing bytes: some Sequence<UInt8>,
        limits: JSONLimits = JSONLimits()
    ) throws(JSONError) {
        var parser = JSONParser(bytes: Array(bytes), limits: limits)
        self = try parser.parseDocument()
    }

    package init(
        parsing text: some StringProtocol,
        limits: JSONLimits = JSONLimits()
    ) throws(JSONError) {
        try self.init(parsing: text.utf8, limits: limits)
    }
}

/// Recursive descent over the bytes. `position` only moves forward; every read is bounded.
struct JSONParser {
    let bytes: [UInt8]
    let limits: JSONLimits
    var position = 0
    private var depth = 0
    private var values = 0

    init(bytes: [UInt8], limits: JSONLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    mutating func parseDocument() throws(JSONError) -> JSONValue {
        guard bytes.count <= limits.bytes else {
            throw failure(.tooManyBytes(limit: limits.bytes), at: limits.bytes)
        }
        guard !bytes.starts(with: [0xEF, 0xBB, 0xBF]) else {
            throw failure(.byteOrderMark, at: 0)
        }
        let value = try parseValue()
        skipSpace()
        guard position == bytes.count else { throw failure(.trailingText, at: position) }
        return value
    }

    private mutating func parseValue() throws(JSONError) -> JSONValue {
        skipSpace()
        values += 1
        guard values <= limits.values else {
            throw failure(.tooManyValues(limit: limits.values), at: position)
        }
        guard let byte = peek else { throw failure(.unexpectedEnd, at: position) }
        switch byte {
        case UInt8(ascii: "{"): return .object(try parseObject())
        case UInt8(ascii: "["): return .array(try parseArray())
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .boolean(true))
        case UInt8(ascii: "f"): return try parseWord("false", .boolean(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
        case _: throw failure(.expectedValue, at: position)
        }
    }

    /// At the bracket that opens a level.
    private mutating func enterLevel() throws(JSONError) {
        guard depth < limits.depth else {
            throw failure(.tooDeep(limit: limits.depth), at: position)
        }
        depth += 1
        position += 1
    }

    private mutating func parseArray() throws(JSONError) -> [JSONValue] {
        try enterLevel()
        defer { depth -= 1 }
        var elements: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return elements }
        while true {
            elements.append(try parseValue())
            skipSpace()
            if take(UInt8(ascii: "]")) { return elements }
            try expect(UInt8(ascii: ","), "',' or ']'")
        }
    }

    private mutating func parseObject() throws(JSONError) -> JSONObject {
        try enterLevel()
        defer { depth -= 1 }
        var members: [JSONObject.Member] = []
        var seen = KeySet()
        skipSpace()
        if take(UInt8(ascii: "}")) { return JSONObject() }
        while true {
            skipSpace()
            let start = position
            guard peek == UInt8(ascii: "\"") else { throw expected("a key in quotes") }
            let key = try parseString()
            guard seen.insert(key, into: members) else {
                throw failure(.duplicateKey(key), at: start)
            }
            skipSpace()
            try expect(UInt8(ascii: ":"), "':' after the key")
            members.append(JSONObject.Member(key: key, value: try parseValue()))
            skipSpace()
            if take(UInt8(ascii: "}")) { return JSONObject(unique: members) }
            try expect(UInt8(ascii: ","), "',' or '}'")
        }
    }

    private mutating func parseWord(
        _ word: StaticString,
        _ value: JSONValue
    ) throws(JSONError) -> JSONValue {
        let start = position
        for letter in word.description.utf8 {
            guard let byte = peek else { throw failure(.unexpectedEnd, at: position) }
            guard byte == letter else { throw failure(.expectedValue, at: start) }
            position += 1
        }
        return value
    }

    // MARK: Bytes

    var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private mutating func expect(_ byte: UInt8, _ what: String) throws(JSONError) {
        guard take(byte) else { throw expected(what) }
    }

    private func expected(_ what: String) -> JSONError {
        failure(peek == nil ? .unexpectedEnd : .expected(what), at: position)
    }

    /// Lines and columns are counted only here: the good path does not pay for them.
    func failure(_ reason: JSONError.Reason, at offset: Int) -> JSONError {
        var line = 1
        var column = 1
        for byte in bytes.prefix(offset) {
            if byte == 0x0A {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
        }
        return JSONError(reason: reason, line: line, column: column, offset: offset)
    }
}

/// Finds a key that comes twice. Keys are compared byte for byte, not by Unicode equivalence;
/// small objects are searched in place, and only a large one pays for a hash table.
private struct KeySet {
    private var table: Set<[UInt8]> = []

    mutating func insert(_ key: String, into members: [JSONObject.Member]) -> Bool {
        guard members.count >= 16 else {
            return !members.contains { $0.key.utf8.elementsEqual(key.utf8) }
        }
        if table.isEmpty { table = Set(members.map { Array($0.key.utf8) }) }
        return table.insert(Array(key.utf8)).inserted
    }
}
