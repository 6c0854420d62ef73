import Testing

@testable import martlet

@Suite struct PlaceTests {
    private static let now: Int64 = 1_769_083_200_000  // 2026-01-22T12:00:00Z

    @Test(arguments: [
        ("earliest", LogPlace.earliest), ("latest", .latest), ("end", .latest), ("0", .offset(0)),
        ("123", .offset(123)), ("-10", .fromEnd(10)), ("-0", .fromEnd(0)), ("@0", .time(0)),
        ("@1769083200000", .time(now)), ("@2026-01-22T12:00Z", .time(now)),
        ("@2026-01-22 12:00:00.5", .time(now + 500)),
        ("@2026-01-22T13:00:00+01:00", .time(now)), ("@2026-01-22T06:30-0530", .time(now)),
        ("@2026-01-22", .time(now - 43_200_000)), ("@-15m", .time(now - 900_000)),
        ("@now", .time(now)), ("@1970-01-01T00:00Z", .time(0)),
    ])
    func `places as people name them`(word: String, place: LogPlace) {
        #expect(LogPlace(word, now: Self.now) == place)
    }

    @Test(arguments: [
        "", "@", "first", "1.5", "@yesterday", "@2026-02-30", "@2026-13-01", "@2026-01-22T25:00Z",
        "@2026-01-22T12:60Z", "@2026-01-22T12:00+25:00", "@-15", "@-1w", "@2026-1-2",
        "--5", "-9223372036854775808", "@2026-01-22T12:00:00.",
    ])
    func `what is no place`(word: String) {
        #expect(LogPlace(word, now: Self.now) == nil)
    }

    @Test func `times as text, also before 1970 and on leap days`() {
        #expect(TimeText.text(0) == "1970-01-01T00:00:00.000Z")
        #expect(TimeText.text(-1) == "1969-12-31T23:59:59.999Z")
        #expect(TimeText.text(1_709_164_800_000) == "2024-02-29T00:00:00.000Z")
        #expect(TimeText.text(Self.now) == "2026-01-22T12:00:00.000Z")
        // No file and no peer can make it trap.
        _ = TimeText.text(.min)
        _ = TimeText.text(.max)
    }

    @Test func `text and time are inverse`() {
        for day in stride(from: Int64(0), to: 40_000, by: 13) {
            let time = day * 86_400_000 + day * 7919 % 86_400_000
            #expect(TimeText.parse(TimeText.text(time), now: 0) == time)
        }
    }
}
