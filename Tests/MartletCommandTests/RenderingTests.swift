import MartletClient
import MartletJSON
import Testing

@testable import martlet

@Suite struct RenderingTests {
    @Test func `a table aligns its columns and has no trailing space`() {
        var table = Table([.left("NAME"), .right("SIZE"), .left("STATE")])
        table.add(["orders", "12", "online"])
        table.add(["a", "1234567", ""])
        #expect(
            table.text() == """
                NAME       SIZE  STATE
                orders       12  online
                a       1234567  -

                """)
        #expect(table.text(hasHeader: false).split(separator: "\n").count == 2)
    }

    @Test func `foreign text cannot move the cursor`() {
        var table = Table([.left("VALUE")])
        table.add(["a\u{1B}[2J\nb"])
        let lines = table.text().split(separator: "\n")
        #expect(lines == ["VALUE", "a\\u{1b}[2J\\nb"])
    }

    @Test func `wide characters take two columns`() {
        #expect(Shown.width("日本") == 4)
        #expect(Shown.width("abc") == 3)
        #expect(Shown.cut("日本語", to: 5) == "日本…")
        #expect(Shown.cut("abc", to: 3) == "abc")
    }

    @Test func `numbers`() {
        #expect(Shown.count(1_234_567) == "1,234,567")
        #expect(Shown.count(-1234) == "-1,234")
        #expect(Shown.count(999) == "999")
        #expect(Shown.bytes(Int64(0)) == "0 B")
        #expect(Shown.bytes(Int64(1536)) == "1.5 KiB")
        #expect(Shown.bytes(Int64.max) == "8192.0 PiB")
        #expect(Shown.decimal(1.005, 1) == "1.0")
        #expect(Shown.decimal(-0.04, 1) == "0.0")
        #expect(Shown.decimal(99.96, 1) == "100.0")
        #expect(Shown.duration(milliseconds: 90_061_000) == "1d 1h")
        #expect(Shown.duration(milliseconds: 1250) == "1.250s")
        #expect(Shown.plural(1, "record") == "1 record")
        #expect(Shown.plural(2000, "record") == "2,000 records")
    }

    private static let record = RecordView(
        topic: "orders", partition: 3, offset: 41, timestamp: 1_769_083_200_123,
        key: Array("k1".utf8), value: Array("hello".utf8),
        headers: [RecordHeader("a", "1"), RecordHeader("b", nil as [UInt8]?)])

    @Test func `a record as JSON has stable keys`() {
        #expect(
            JSONWriter.text(RecordPrinter.json(Self.record))
                == #"{"topic":"orders","partition":3,"offset":41,"timestamp":1769083200123,"#
                + #""key":"k1","value":"hello","headers":[{"key":"a","value":"1"},"#
                + #"{"key":"b","value":null}]}"#)
    }

    @Test func `bytes that are no text are Base64 under another key`() throws {
        let record = RecordView(
            topic: "t", partition: 0, offset: 0, timestamp: 0, key: nil, value: [0xFF, 0, 1],
            headers: [])
        let json = RecordPrinter.json(record)
        #expect(json["value"] == nil)
        #expect(json["valueBase64"]?.stringValue == "/wAB")
        #expect(json["key"] == .null)
    }

    @Test(arguments: [
        ("%t %p %o %k %v\\n", "orders 3 41 k1 hello\n"),
        ("%T|%m", "2026-01-22T12:00:00.123Z|1769083200123"),
        ("%h{a}-%h{b}-%h{c}", "1--"),
        ("%h", "a=1,b="),
        ("%K %V %%\\t\\x41", "2 5 %\tA"),
        ("", ""),
    ])
    func `format strings`(text: String, expected: String) throws {
        var buffer: [UInt8] = []
        try RecordFormat(parsing: text).append(Self.record, to: &buffer)
        #expect(String(decoding: buffer, as: UTF8.self) == expected)
    }

    @Test(arguments: ["%", "%q", "%h{a", "\\q", "\\x4"])
    func `format strings that mean nothing are refused`(text: String) {
        #expect(throws: FormatStringError.self) { try RecordFormat(parsing: text) }
    }

    @Test func `Base64 both ways`() {
        for (bytes, text) in [
            ([], ""), ([102], "Zg=="), ([102, 111], "Zm8="), ([102, 111, 111], "Zm9v"),
            ([0xFB, 0xFF, 0xBF], "+/+/"),
        ] as [([UInt8], String)] {
            #expect(Base64.text(bytes) == text)
            #expect(Base64.bytes(text) == bytes)
        }
        for wrong in ["Z", "Zg=", "Zg==Zg==", "Zh==", "Z===", "Zm9v\n", "Zm9*"] {
            #expect(Base64.bytes(wrong) == nil, "\(wrong)")
        }
    }
}
