import MartletConfiguration
import MartletTestSupport
import Testing

@Suite struct UnitsTests {
    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("1KiB", 1024),
            ("3GiB", 3 << 30), ("2TiB", 2 << 40), ("17B", 17), ("-1", -1),
            ("9223372036854775807", .max), ("-9223372036854775808", .min),
        ] as [(String, Int64)])
    func bytes(text: String, value: Int64) throws {
        #expect(try Units.bytes(text) == value)
    }

    @Test(arguments: [
        "", " ", "MiB", "64MB", "64mib", "64M", "1.5GiB", "+1", "--1", "1e3", "0x10", "64MiBs",
        "9223372036854775808", "9007199254740993TiB", "٣", "½", "1,000", "64 Mi B",
        "99999999999999999999999999999999999",
    ])
    func badBytes(text: String) {
        #expect(throws: UnitError.self) { try Units.bytes(text) }
    }

    @Test(
        arguments: [
            ("0", 0), ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000),
            ("7d", 604_800_000), ("30 s", 30_000),
        ] as [(String, Int64)])
    func durations(text: String, value: Int64) throws {
        #expect(try Units.milliseconds(text) == value)
    }

    @Test(arguments: ["", "30", "30S", "1w", "1h30m", "s", "1.5s", "9223372036854775807d", "inf"])
    func badDurations(text: String) {
        #expect(throws: UnitError.self) { try Units.milliseconds(text) }
    }

    @Test func rates() throws {
        #expect(try Units.perSecond("200/s") == 200)
        #expect(try Units.perSecond("200") == 200)
        #expect(throws: UnitError.self) { try Units.perSecond("200/m") }
    }

    @Test func booleans() throws {
        #expect(try Units.boolean("true"))
        #expect(try !Units.boolean("false"))
        for text in ["yes", "1", "TRUE", ""] {
            #expect(throws: UnitError.self) { try Units.boolean(text) }
        }
    }

    @Test func messagesSayWhatToWrite() {
        #expect(
            message { try Units.bytes("64MB") }
                == "'64MB' has an unknown unit: use one of B, KiB, MiB, GiB, TiB")
        #expect(
            message { try Units.milliseconds("30") }
                == "'30' has no unit: write ms, s, m, h or d after the number")
        #expect(
            message { try Units.boolean("yes\n\u{1b}[0m") }
                == "'yes\\u{a}\\u{1b}[0m' is not a boolean: write true or false")
    }

    private func message<R>(_ body: () throws -> R) -> String? {
        do {
            _ = try body()
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test func formattedValuesComeBack() throws {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(2_000) {
            let shift = Int64.random(in: 0...62, using: &random)
            let value = Int64.random(in: 0...Int64.max, using: &random) >> shift
            #expect(try Units.bytes(Units.format(bytes: value)) == value)
            #expect(try Units.milliseconds(Units.format(milliseconds: value)) == value)
            #expect(try Units.perSecond(Units.format(perSecond: value)) == value)
        }
        #expect(Units.format(bytes: 1 << 30) == "1GiB")
        #expect(Units.format(bytes: 1_536 << 20) == "1536MiB")
        #expect(Units.format(milliseconds: 86_400_000) == "1d")
        #expect(Units.format(milliseconds: 90_000) == "90s")
    }
}

@Suite struct HostPortTests {
    @Test(
        arguments: [
            ("127.0.0.1:7700", "127.0.0.1", 7700), ("localhost:0", "localhost", 0),
            ("[::1]:65535", "::1", 65535), ("broker-1.example.com:1", "broker-1.example.com", 1),
            ("0.0.0.0:7700", "0.0.0.0", 7700),
        ] as [(String, String, UInt16)])
    func good(text: String, host: String, port: UInt16) throws {
        let address = try HostPort(parsing: text)
        #expect(address.host == host)
        #expect(address.port == port)
        #expect(address.description == text)
    }

    @Test(arguments: [
        "", ":", ":7700", "7700", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:+1", "127.0.0.1:7 ", "::1:7700", "[::1]", "[::1:7700", "[]:1", "[host]:1",
        "a b:1", "host\n:1", "*:7700", "http://host:1", "[127.0.0.1]:1", "host:00001x",
        "host:٣",
    ])
    func bad(text: String) {
        #expect(throws: UnitError.self) { try HostPort(parsing: text) }
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("127.8.9.1", true), ("localhost", true), ("LOCALHOST", true),
        ("::1", true), ("0:0:0:0:0:0:0:1", true), ("::ffff:127.0.0.1", true),
        ("0.0.0.0", false), ("::", false), ("10.0.0.1", false), ("::ffff:10.0.0.1", false),
        ("example.com", false), ("127.0.0.1.example.com", false), ("localhost.example.com", false),
    ])
    func loopback(host: String, isLoopback: Bool) {
        #expect(HostPort(host: host, port: 1).isLoopback == isLoopback)
    }
}

@Suite struct NearestNameTests {
    @Test(arguments: [
        ("retentoin.time", "retention.time"), ("listne", "listen"), ("Listen", "listen"),
        ("idle.timeot", "idle.timeout"), ("idletimeout", "idle.timeout"), ("levl", "level"),
        ("elvel", "level"), ("leve", "level"),
    ])
    func finds(typed: String, meant: String) {
        let names = ["listen", "idle.timeout", "retention.time", "level"]
        #expect(NearestName.find(typed, in: names) == meant)
    }

    @Test func doesNotGuessWildly() {
        #expect(NearestName.find("xyz", in: ["listen", "level", "abc"]) == nil)
        #expect(NearestName.find("", in: ["a"]) == nil)
        #expect(NearestName.find(String(repeating: "a", count: 1 << 20), in: ["a"]) == nil)
        #expect(NearestName.find("ab", in: []) == nil)
    }
}
