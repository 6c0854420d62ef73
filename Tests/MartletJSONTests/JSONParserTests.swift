import MartletJSON
import Testing

@Suite struct JSONParserTests {
    static let good: [(String, JSONValue)] = [
        ("null", .null),
        (" \t\r\n true \n", true),
        ("false", false),
        ("0", 0),
        ("-1", -1),
        ("9223372036854775807", .integer(.max)),
        ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .unsigned(9_223_372_036_854_775_808)),
        ("18446744073709551615", .unsigned(.max)),
        ("18446744073709551616", .double(0x1p64)),
        ("-9223372036854775809", .double(-0x1p63)),
        ("1.0", 1.0),
        ("1e2", .double(100)),
        ("1E+2", .double(100)),
        ("25e-1", 2.5),
        ("-0.5e0", -0.5),
        ("5e-324", .double(.leastNonzeroMagnitude)),
        ("1e-9999", .double(0)),
        ("1.7976931348623157e308", .double(.greatestFiniteMagnitude)),
        (#""""#, ""),
        (#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (#""\u0041\u00e9\u20ac\u0000""#, "A\u{e9}\u{20ac}\0"),
        (#""\uD83D\uDE00\ud83d\ude00""#, "\u{1F600}\u{1F600}"),
        (#""\uFFFF\uD7FF\uE000""#, "\u{FFFF}\u{D7FF}\u{E000}"),
        ("\"\u{e9}\u{1F600}\u{7f}\"", "\u{e9}\u{1F600}\u{7f}"),
        ("[]", []),
        ("[ ]", []),
        ("[1,[2,[]],{}]", [1, [2, []], [:]]),
        ("{}", [:]),
        (#"{"b":1,"a":{"":null}}"#, ["b": 1, "a": ["": nil]]),
        ("{\"\u{e9}\":1,\"e\u{301}\":2}", .object(twoForms)),
    ]

    /// One key precomposed, one not: two keys for JSON, one for Swift's `==`.
    private static var twoForms: JSONObject {
        guard
            let parsed = try? JSONValue(parsing: "{\"\u{e9}\":1,\"e\u{301}\":2}"),
            let object = parsed.objectValue, object.count == 2
        else { return JSONObject() }
        return object
    }

    @Test(arguments: good)
    func accepts(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == value)
    }

    @Test func negativeZeroKeepsItsSign() throws {
        let value = try JSONValue(parsing: "-0")
        #expect(value.doubleValue?.sign == .minus)
        #expect(JSONWriter.text(value) == "-0.0")
    }

    static let bad: [(String, JSONError.Reason, Int, Int)] = [
        ("", .unexpectedEnd, 1, 1),
        (" \n ", .unexpectedEnd, 2, 2),
        ("nul", .unexpectedEnd, 1, 4),
        ("nulL", .expectedValue, 1, 1),
        ("True", .expectedValue, 1, 1),
        ("'a'", .expectedValue, 1, 1),
        ("NaN", .expectedValue, 1, 1),
        ("+1", .expectedValue, 1, 1),
        (".5", .expectedValue, 1, 1),
        ("-", .unexpectedEnd, 1, 2),
        ("-a", .invalidNumber("a digit is missing"), 1, 2),
        ("01", .invalidNumber("it begins with 0"), 1, 1),
        ("-00", .invalidNumber("it begins with 0"), 1, 1),
        ("1.", .unexpectedEnd, 1, 3),
        ("1.e5", .invalidNumber("a digit must follow the point"), 1, 3),
        ("1e", .unexpectedEnd, 1, 3),
        ("1e+x", .invalidNumber("a digit is missing in the exponent"), 1, 4),
        ("1e309", .numberOutOfRange, 1, 1),
        ("0x10", .trailingText, 1, 2),
        ("1 2", .trailingText, 1, 3),
        ("{} // no", .trailingText, 1, 4),
        ("[1,]", .expectedValue, 1, 4),
        ("[1", .unexpectedEnd, 1, 3),
        ("[1 2]", .expected("',' or ']'"), 1, 4),
        ("[,1]", .expectedValue, 1, 2),
        ("{\"a\":1,}", .expected("a key in quotes"), 1, 8),
        ("{a:1}", .expected("a key in quotes"), 1, 2),
        ("{\"a\" 1}", .expected("':' after the key"), 1, 6),
        ("{\"a\":1 \"b\":2}", .expected("',' or '}'"), 1, 8),
        ("{\"a\":1,\n \"a\":2}", .duplicateKey("a"), 2, 2),
        ("{\"a\":1,\"\\u0061\":2}", .duplicateKey("a"), 1, 8),
        ("\"abc", .unexpectedEnd, 1, 5),
        ("\"a\nb\"", .controlCharacter(10), 1, 3),
        ("\"\\x\"", .invalidEscape, 1, 2),
        ("\"\\u12\"", .invalidEscape, 1, 2),
        ("\"\\u12G4\"", .invalidEscape, 1, 2),
        ("\"\\", .unexpectedEnd, 1, 3),
        ("\"\u{e9}\\uD800\"", .loneSurrogate, 1, 3),
        ("\"\\uDC00\"", .loneSurrogate, 1, 2),
        ("\"\\uD800\\n\"", .loneSurrogate, 1, 2),
        ("\"\\uD800\\uD800\"", .loneSurrogate, 1, 2),
        ("\u{feff}1", .byteOrderMark, 1, 1),
        ("[\n  1,\n  \u{e9}]", .expectedValue, 3, 3),
    ]

    @Test(arguments: bad)
    func refuses(text: String, reason: JSONError.Reason, line: Int, column: Int) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        #expect(error?.reason == reason)
        #expect(error?.line == line)
        #expect(error?.column == column)
    }

    @Test(
        arguments: [
            [0xFF], [0x80], [0xC0, 0x80], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
            [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
        ] as [[UInt8]])
    func refusesInvalidUTF8(bytes: [UInt8]) {
        let error = #expect(throws: JSONError.self) {
            try JSONValue(parsing: Array("[\"ab".utf8) + bytes + Array("\"]".utf8))
        }
        #expect(error?.reason == .invalidUTF8)
        #expect(error?.offset == 4)
    }

    @Test func nestingEndsAtTheLimit() throws {
        let text = { (depth: Int) in
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSONValue(parsing: text(64))
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text(65)) }
        #expect(error?.reason == .tooDeep(limit: 64))
        #expect(error?.offset == 64)
        for bomb in [
            String(repeating: "[", count: 1 << 20), String(repeating: "{\"a\":", count: 1 << 18),
        ] {
            #expect(throws: JSONError.self) { try JSONValue(parsing: bomb) }
        }
    }

    @Test func depthIsCountedDownAgain() throws {
        let elements = Array(repeating: "[{}]", count: 200).joined(separator: ",")
        #expect(try JSONValue(parsing: "[\(elements)]").arrayValue?.count == 200)
    }

    @Test func sizesAreLimited() {
        let limits = JSONLimits(depth: 2, bytes: 10, values: 3)
        #expect(throws: JSONError.self) { try JSONValue(parsing: "\"123456789\"", limits: limits) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: "[1,2,3]", limits: limits) }
        #expect(throws: Never.self) { try JSONValue(parsing: "[1,2]", limits: limits) }
    }

    @Test func manyKeysAreFastAndDuplicatesAreFound() {
        let members = (0..<50_000).map { "\"k\($0)\":\($0)" }
        let text = "{\(members.joined(separator: ",")),\"k40000\":0}"
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        #expect(error?.reason == .duplicateKey("k40000"))
    }

    @Test func aLongNumberIsNoTrouble() throws {
        let digits = String(repeating: "9", count: 300)
        #expect(try JSONValue(parsing: digits).doubleValue == 1e300)
        let error = #expect(throws: JSONError.self) {
            try JSONValue(parsing: String(repeating: "9", count: 100_000))
        }
        #expect(error?.reason == .numberOutOfRange)
        #expect(
            try JSONValue(parsing: "0." + String(repeating: "3", count: 100_000))
                == 0.3333333333333333)
    }
}
