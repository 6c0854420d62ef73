import MartletJSON
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@Suite struct LoggerTests {
    /// A clock that stands until it is moved.
    final class FixedClock: Sendable {
        let nanoseconds = Atomic<Int64>(0)

        var clock: LogClock {
            LogClock(
                wallMilliseconds: { 1_769_083_200_123 },
                monotonicNanoseconds: { [self] in nanoseconds.load(ordering: .relaxed) }
            )
        }

        func advance(seconds: Int64) {
            nanoseconds.add(seconds * 1_000_000_000, ordering: .relaxed)
        }
    }

    static func logger(
        _ format: LogFormat,
        level: LogLevel = .debug,
        clock: FixedClock = FixedClock()
    ) -> (Logger, LogCapture) {
        let capture = LogCapture()
        let logger = Logger(
            label: "storage", level: level, format: format, sink: capture, clock: clock.clock)
        return (logger, capture)
    }

    @Test func textLine() {
        let (logger, capture) = Self.logger(.text)
        logger.warning(
            "DISK_LOW", "less than the low mark is free",
            [
                ("available", 12), ("path", "/var/lib/a b"), ("ratio", 0.5), ("ok", false),
                ("empty", ""),
            ])
        #expect(
            capture.lines == [
                #"2026-01-22T12:00:00.123Z warning storage DISK_LOW: less than the low mark is free "#
                    + #"available=12 path="/var/lib/a b" ratio=0.5 ok=false empty="""#
            ])
    }

    @Test func jsonLine() throws {
        let (logger, capture) = Self.logger(.json)
        logger.error("A_CODE", "message", [("big", LogValue(UInt64.max)), ("level", "forged")])
        #expect(
            capture.lines == [
                #"{"time":"2026-01-22T12:00:00.123Z","level":"error","label":"storage","#
                    + #""code":"A_CODE","message":"message","#
                    + #""fields":{"big":18446744073709551615,"level":"forged"}}"#
            ])
        logger.info("B_CODE", "no fields")
        let value = try JSONValue(parsing: capture.lines[1])
        #expect(value["fields"] == nil)
    }

    static let attacks = [
        "a\n2026-01-22T12:00:00.123Z error storage FORGED: x", "a\r\nb", "\u{1b}[31mred\u{1b}[0m",
        "nul\0", "\u{85}next line", "\u{2028}\u{2029}", "\u{202e}txt", "\u{9b}2J", "\t\u{b}\u{c}",
        "\" level=error x=\"", "\\n\\", "\u{7f}\u{8}",
    ]

    @Test(arguments: LogFormat.allCases, attacks)
    func aForeignTextCannotForgeALine(format: LogFormat, text: String) throws {
        let (logger, capture) = Self.logger(format)
        logger.labelled(text).info("CODE", text, [("field", .string(text)), ("last", 1)])
        let line = try #require(capture.lines.first)
        let harmless = line.unicodeScalars.allSatisfy { !JSONWriter.isUnsafeToShow($0) }
        #expect(harmless)
        switch format {
        case .text: #expect(line.hasSuffix(" last=1"))
        case .json:
            let value = try JSONValue(parsing: line)
            #expect(value["fields"]?["field"] == .string(text))
            #expect(value["message"] == .string(text))
        }
    }

    @Test func aFieldValueStaysInItsQuotes() throws {
        let (logger, capture) = Self.logger(.text)
        logger.info("CODE", "m", [("topic", "x\" level=error \\")])
        #expect(try #require(capture.lines.first).hasSuffix(#"m topic="x\" level=error \\""#))
    }

    @Test(arguments: LogFormat.allCases)
    func longTextsAreCut(format: LogFormat) throws {
        let (logger, capture) = Self.logger(format)
        let text = String(repeating: "\u{e9}", count: 100_000)
        logger.info("CODE", text, [("a", .string(text))])
        #expect(try #require(capture.lines.first).utf8.count < 5_000)
    }

    @Test func levelsFilterAndMessagesAreNotBuilt() {
        let (logger, capture) = Self.logger(.text, level: .notice)
        let built = Atomic(0)
        let message = { () -> String in
            built.add(1, ordering: .relaxed)
            return "m"
        }
        logger.debug("D", message())
        logger.info("I", message())
        logger.notice("N", message())
        logger.warning("W", message())
        logger.error("E", message())
        #expect(capture.codes == ["N", "W", "E"])
        #expect(built.load(ordering: .relaxed) == 3)
        let derived = logger.labelled("other").with([("a", 1)])
        logger.setLevel(.debug)
        derived.debug("D", message())
        #expect(capture.codes.last == "D")
        #expect(derived.isEnabled(.debug))
    }

    @Test func contextFieldsComeFirstAndNewOnesReplaceThem() {
        let (logger, capture) = Self.logger(.text)
        let child = logger.with([("topic", "a"), ("partition", 1)]).with([("partition", 2)])
        child.info("CODE", "m", [("offset", 3)])
        child.info("CODE", "m", [("topic", "b")])
        #expect(capture.lines[0].hasSuffix("m topic=a partition=2 offset=3"))
        #expect(capture.lines[1].hasSuffix("m topic=b partition=2"))
        #expect(capture.events[1]["topic"] == .string("b"))
    }

    @Test func limitedLoggersCountWhatTheyKeepBack() {
        let clock = FixedClock()
        let (base, capture) = Self.logger(.text, clock: clock)
        let logger = base.limited(burst: 2, every: .seconds(10))
        for _ in 0..<5 { logger.info("CODE", "m") }
        logger.info("OTHER", "m")
        #expect(capture.codes == ["CODE", "CODE", "OTHER"])
        clock.advance(seconds: 9)
        logger.info("CODE", "m")
        #expect(capture.codes.count == 3)
        clock.advance(seconds: 1)
        logger.with([("a", 1)]).info("CODE", "m")
        #expect(capture.codes.count == 4)
        #expect(capture.events[3]["suppressed"] == .unsigned(4))
        logger.info("CODE", "m")
        #expect(capture.codes.count == 4)
        clock.advance(seconds: 1_000)
        for _ in 0..<5 { logger.info("CODE", "m") }
        #expect(capture.codes.count == 6)
    }

    @Test func theDisabledLoggerStaysSilent() {
        let logger = Logger.disabled.with([("a", 1)])
        logger.setLevel(.debug)
        #expect(!logger.isEnabled(.error))
        logger.error("CODE", "m")
    }

    @Test func randomTextsStayOnOneLine() throws {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(2_000) {
            let count = Int.random(in: 0..<20, using: &random)
            let bytes = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            let text = String(decoding: bytes, as: UTF8.self)
            for format in LogFormat.allCases {
                let (logger, capture) = Self.logger(format)
                logger.info("CODE", text, [("a", .string(text))])
                let line = try #require(capture.lines.first)
                #expect(line.unicodeScalars.allSatisfy { !JSONWriter.isUnsafeToShow($0) })
                if format == .json { _ = try JSONValue(parsing: line) }
            }
        }
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func timestamps(milliseconds: Int64, text: String) {
        #expect(Timestamp.text(wallMilliseconds: milliseconds) == text)
    }

    @Test(arguments: [Int64.min, .max])
    func timestampsNeverTrap(milliseconds: Int64) {
        #expect(Timestamp.text(wallMilliseconds: milliseconds).hasSuffix("Z"))
    }
}
