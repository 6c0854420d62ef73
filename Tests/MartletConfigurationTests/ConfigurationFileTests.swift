import Glibc
import MartletConfiguration
import MartletTestSupport
import Testing

@Suite struct ConfigurationFileTests {
    static func file(_ text: String) -> ConfigurationFile {
        ConfigurationFile(name: "m.conf", bytes: Array(text.utf8))
    }

    @Test func everyForm() {
        let text = """
            # comment

            [listener]   # comment
            listen = 127.0.0.1:7700
            \tidle.timeout=5m# not a comment
            a = b c # comment
            q = "x # \\"y\\" \\\\ \\n\\t"   # comment
            e = ""
            [ log ]
            level = info\r
            hash = #
            """
        let (entries, problems) = Self.file(text).parse()
        #expect(problems.map(\.description) == ["m.conf:11: 'hash' has no value"])
        #expect(
            entries.map { [$0.section, $0.key, $0.value, "\($0.line)"] } == [
                ["listener", "listen", "127.0.0.1:7700", "4"],
                ["listener", "idle.timeout", "5m# not a comment", "5"],
                ["listener", "a", "b c", "6"],
                ["listener", "q", "x # \"y\" \\ \n\t", "7"],
                ["listener", "e", "", "8"],
                ["log", "level", "info", "10"],
            ])
    }

    @Test(arguments: [
        ("a = 1", "m.conf:1: the key 'a' stands in no section; write [section] above it"),
        ("[s]\nwords", "m.conf:2: expected 'key = value' or '[section]', found 'words'"),
        ("[s]\n= 1", "m.conf:2: there is no key before '='"),
        ("[s]\na =", "m.conf:2: 'a' has no value"),
        ("[s]\na = 1\n\n[t]\n[s]\na = 2", "m.conf:6: 'a' is set twice in [s]; the first is line 2"),
        ("[s", "m.conf:1: the section has no closing ']'"),
        ("[]", "m.conf:1: the section has no name"),
        ("[s] x", "m.conf:1: text after the section: 'x'"),
        ("[s]\na = \"x", "m.conf:2: the closing quote is missing"),
        ("[s]\na = \"x\" y", "m.conf:2: text after the closing quote: 'y'"),
        ("[s]\na = \"\\q\"", "m.conf:2: unknown escape in quotes; there are \\\" \\\\ \\n \\t"),
        (
            "[s]\na = x\"y",
            "m.conf:2: a quote inside a value: put the whole value into quotes, with \\\" inside"
        ),
        ("[s]\na = \u{1b}[0m", "m.conf:2: the line holds a control character"),
        ("\u{feff}[s]", "m.conf:1: remove the byte order mark"),
    ])
    func problem(text: String, message: String) {
        #expect(Self.file(text).parse().problems.map(\.description) == [message])
    }

    @Test func invalidUTF8AndNulAreNamedWithTheirLine() {
        let bytes = Array("[s]\na = ".utf8) + [0xFF] + Array("\nb = \0".utf8)
        let problems = ConfigurationFile(name: "m.conf", bytes: bytes).parse().problems
        #expect(
            problems.map(\.description) == [
                "m.conf:2: the line is not valid UTF-8",
                "m.conf:3: the line holds a control character",
            ])
    }

    @Test func hugeFilesAreRefusedAndProblemsAreBounded() {
        let huge = [UInt8](repeating: UInt8(ascii: "#"), count: ConfigurationFile.bytesMax + 1)
        #expect(ConfigurationFile(name: "m", bytes: huge).parse().problems.count == 1)
        let wrong = String(repeating: "x\n", count: 100_000)
        #expect(Self.file(wrong).parse().problems.count == 100)
    }

    @Test func aMissingFileIsNamed() {
        let failure = #expect(throws: ConfigurationFailure.self) {
            try ConfigurationFile(reading: "/nonexistent/martlet.conf")
        }
        #expect(
            failure?.description
                == "cannot read the configuration file '/nonexistent/martlet.conf': No such file or directory"
        )
        #expect(throws: ConfigurationFailure.self) { try ConfigurationFile(reading: "/tmp") }
        #expect(throws: Never.self) { try ConfigurationFile(reading: "/dev/null") }
    }

    @Test func anEndlessFileIsNotReadToItsEnd() throws {
        let file = try ConfigurationFile(reading: "/dev/zero")
        #expect(file.parse().problems.count == 1)
    }

    @Test func randomBytesNeverTrap() {
        var random = SeededRandom.announced()
        let alphabet = Array("[]=#\"\\ \t\r\n\nabc.-_09\u{e9}\u{301}".utf8)
        for _ in 0..<random.iterations(20_000) {
            let bytes = (0..<Int.random(in: 0..<80, using: &random)).map { _ in
                Int.random(in: 0..<8, using: &random) > 0
                    ? alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                    : UInt8.random(in: .min ... .max, using: &random)
            }
            let file = ConfigurationFile(name: "m.conf", bytes: bytes)
            let (entries, problems) = file.parse()
            let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).count
            #expect(entries.count + problems.count <= lines)
            for problem in problems {
                #expect(!problem.description.utf8.contains { $0 < 0x20 || $0 == 0x7F })
            }
        }
    }
}
