import MartletJSON
import MartletTestSupport
import Testing

@Suite struct JSONRandomTests {
    @Test func randomBytesNeverTrap() {
        var random = SeededRandom.announced()
        let alphabet = Array("{}[]\",:\\u0123456789abdDeE+-.tfnrlsu \n\u{0}\u{e9}".utf8)
        for _ in 0..<random.iterations(20_000) {
            let count = Int.random(in: 0..<64, using: &random)
            let bytes = (0..<count).map { _ in
                Bool.random(using: &random)
                    ? alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                    : UInt8.random(in: .min ... .max, using: &random)
            }
            guard let value = try? JSONValue(parsing: bytes) else { continue }
            // What the parser takes, the writer gives back.
            #expect((try? JSONValue(parsing: JSONWriter.bytes(value))) == value)
        }
    }

    @Test func randomValuesComeBack() throws {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(3_000) {
            let value = Self.value(depth: 0, &random)
            #expect(try JSONValue(parsing: JSONWriter.bytes(value)) == value)
            #expect(try JSONValue(parsing: JSONWriter.bytes(value, style: .pretty)) == value)
        }
    }

    @Test func everyCutOfAValueIsRefused() throws {
        let text = #"{"a":[1,-2.5e3,"x\u00e9\n",null,true],"b":{"c":false}}"#
        _ = try JSONValue(parsing: text)
        for length in 0..<text.utf8.count {
            let error = #expect(throws: JSONError.self) {
                try JSONValue(parsing: Array(text.utf8.prefix(length)))
            }
            #expect(error?.reason == .unexpectedEnd)
        }
    }

    private static func value(depth: Int, _ random: inout SeededRandom) -> JSONValue {
        switch Int.random(in: 0..<(depth < 5 ? 9 : 7), using: &random) {
        case 0: return .null
        case 1: return .boolean(Bool.random(using: &random))
        case 2: return .integer(Int64.random(in: .min ... .max, using: &random))
        case 3: return .unsigned(UInt64.random(in: (1 << 63)...UInt64.max, using: &random))
        case 4:
            let value = Double(bitPattern: UInt64.random(in: 0...UInt64.max, using: &random))
            return .double(value.isFinite ? value : 0.5)
        case 5, 6: return .string(text(&random))
        case 7:
            let count = Int.random(in: 0..<5, using: &random)
            return .array((0..<count).map { _ in value(depth: depth + 1, &random) })
        case _:
            var object = JSONObject()
            for _ in 0..<Int.random(in: 0..<5, using: &random) {
                object[text(&random)] = value(depth: depth + 1, &random)
            }
            return .object(object)
        }
    }

    private static func text(_ random: inout SeededRandom) -> String {
        var text = ""
        for _ in 0..<Int.random(in: 0..<12, using: &random) {
            let code =
                UInt32.random(in: 0...0x10FFFF, using: &random)
                >> UInt32.random(in: 0...20, using: &random)
            if let scalar = Unicode.Scalar(code) { text.unicodeScalars.append(scalar) }
        }
        return text
    }
}
