import MartletJSON
import Testing

@Suite struct JSONWriterTests {
    @Test func compactText() {
        let value: JSONValue = [
            "name": "a\"b\\c\n", "list": [1, -2.5, true, nil], "empty": [], "none": [:],
            "big": .unsigned(.max),
        ]
        #expect(
            JSONWriter.text(value)
                == #"{"name":"a\"b\\c\n","list":[1,-2.5,true,null],"empty":[],"none":{},"#
                + #""big":18446744073709551615}"#
        )
    }

    @Test func prettyText() {
        let value: JSONValue = ["a": [1, ["b": nil]], "c": [:], "d": []]
        #expect(
            JSONWriter.text(value, style: .pretty) == """
                {
                  "a": [
                    1,
                    {
                      "b": null
                    }
                  ],
                  "c": {},
                  "d": []
                }
                """
        )
    }

    @Test func nothingThatMovesATerminalLeavesUnescaped() {
        let text = "\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}\u{0}\u{e9}\u{1F600}"
        #expect(
            JSONWriter.text(.string(text))
                == "\"\\u001b[2J\\u007f\\u009b\\u2028\\u202e\\u0000\u{e9}\u{1F600}\""
        )
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity])
    func whatIsNoNumberIsNull(value: Double) {
        #expect(JSONWriter.text(.double(value)) == "null")
    }

    @Test(arguments: [
        0.1, 1.0, -0.0, 1e21, 1e-7, .leastNonzeroMagnitude, 1.7976931348623157e308, 123_456_789.123,
        4_503_599_627_370_497.5,
    ])
    func doublesComeBackExactly(value: Double) throws {
        let back = try JSONValue(parsing: JSONWriter.text(.double(value)))
        #expect(back == .double(value))
    }

    @Test func objectsKeepTheirOrder() throws {
        var object: JSONObject = ["z": 1, "a": 2]
        object["m"] = 3
        object["z"] = 4
        #expect(object.keys == ["z", "a", "m"])
        object["a"] = nil
        #expect(JSONWriter.text(.object(object)) == #"{"z":4,"m":3}"#)
        #expect(JSONValue.object(object)["m"] == 3)
        #expect(JSONValue.object(object)["n"] == nil)
        #expect(JSONValue.array([1])[1] == nil)
    }

    @Test func integersHaveOneForm() {
        #expect(JSONValue(UInt64.max) == .unsigned(.max))
        #expect(JSONValue(UInt64(7)) == .integer(7))
        #expect(JSONValue(Int8(-7)) == -7)
    }
}
