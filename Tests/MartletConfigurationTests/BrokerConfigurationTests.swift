import Glibc
import MartletConfiguration
import MartletTestSupport
import Testing

@Suite struct BrokerConfigurationTests {
    static func load(
        _ text: String = "",
        _ environment: [String: String] = [:],
        _ overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationFailure) -> LoadedConfiguration {
        try BrokerConfiguration.load(
            file: ConfigurationFileTests.file(text), environment: environment, overrides: overrides)
    }

    static func problems(_ text: String, _ environment: [String: String] = [:]) -> [String] {
        do throws(ConfigurationFailure) {
            _ = try load(text, environment)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    // MARK: The table

    @Test func namesAreUniqueAndWellFormed() {
        let keys = BrokerConfiguration.keys
        #expect(Set(keys.map(\.title)).count == keys.count)
        #expect(Set(keys.map(\.environmentVariable)).count == keys.count)
        for key in keys {
            let isPlain = key.name.utf8.allSatisfy {
                "abcdefghijklmnopqrstuvwxyz.-".utf8.contains($0)
            }
            #expect(isPlain, "\(key.title)")
            #expect(key.documentation.hasSuffix("."), "\(key.title)")
        }
    }

    @Test(arguments: BrokerConfiguration.keys.map(\.title))
    func theDefaultIsAValueThatTheKeyTakes(title: String) throws {
        let key = try #require(BrokerConfiguration.keys.first { $0.title == title })
        var configuration = BrokerConfiguration()
        try key.apply(key.defaultText, to: &configuration)
        #expect(configuration == BrokerConfiguration())
        #expect(throws: UnitError.self) { try key.apply("", to: &configuration) }
    }

    /// Every key writes its own place and no other one.
    @Test(arguments: BrokerConfiguration.keys.map(\.title))
    func everyKeyHasItsOwnPlace(title: String) throws {
        let key = try #require(BrokerConfiguration.keys.first { $0.title == title })
        let text = try #require(Self.otherValue(of: key))
        var configuration = BrokerConfiguration()
        try key.apply(text, to: &configuration)
        #expect(key.text(in: configuration) == text)
        let changes = BrokerConfiguration().changes(to: configuration)
        #expect(changes.map(\.key.title) == [title])
    }

    /// A canonical value that is in range and not the default.
    static func otherValue(of key: ConfigurationKey) -> String? {
        switch key.kind {
        case .boolean: key.defaultText == "true" ? "false" : "true"
        case .integer(let range): "\(range.upperBound)"
        case .bytes(let range, _): Units.format(bytes: range.upperBound)
        case .duration(let range, _): Units.format(milliseconds: range.upperBound)
        case .rate(let range): "\(range.upperBound)/s"
        case .choice(let words): words.first { $0 != key.defaultText }
        case .address: "127.0.0.9:9"
        case .path: "/other"
        }
    }

    @Test(arguments: BrokerConfiguration.keys.map(\.title))
    func rangesHold(title: String) throws {
        let key = try #require(BrokerConfiguration.keys.first { $0.title == title })
        var configuration = BrokerConfiguration()
        switch key.kind {
        case .integer(let range), .rate(let range), .bytes(let range, _):
            #expect(throws: UnitError.self) {
                try key.apply("\(range.upperBound + 1)", to: &configuration)
            }
            if range.lowerBound > 0 {
                let below = "\(range.lowerBound - 1)"
                #expect(throws: UnitError.self) { try key.apply(below, to: &configuration) }
            }
        case .duration(let range, _):
            let above = "\(range.upperBound + 1)ms"
            #expect(throws: UnitError.self) { try key.apply(above, to: &configuration) }
        case .boolean, .choice, .address, .path: break
        }
        #expect(!Self.takes(key, "nonsense \u{0}"))
        for text in ["-2", "-9223372036854775808", "99999999999999999999"] where key.kind != .path {
            #expect(!Self.takes(key, text))
        }
        let forever = Self.takes(key, "forever")
        let minusOne = Self.takes(key, "-1")
        switch key.kind {
        case .bytes(_, let isAllowed), .duration(_, let isAllowed):
            #expect(forever == isAllowed)
            #expect(minusOne == isAllowed)
        case .path: break
        case .boolean, .integer, .rate, .choice, .address:
            #expect(!forever && !minusOne)
        }
    }

    static func takes(_ key: ConfigurationKey, _ text: String) -> Bool {
        var configuration = BrokerConfiguration()
        do throws(UnitError) {
            try key.apply(text, to: &configuration)
            return true
        } catch {
            return false
        }
    }

    /// After a change of the table run this with `MARTLET_FUZZ_WRITE_MANUAL=1`: it writes the file.
    @Test func theManualIsTheTable() throws {
        let path = "\(Repository.root)/config/martlet.conf"
        if Environment.current()["MARTLET_FUZZ_WRITE_MANUAL"] != nil {
            let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
            let bytes = Array(BrokerConfiguration.manual.utf8)
            let count = unsafe bytes.withUnsafeBytes {
                unsafe write(descriptor, $0.baseAddress, $0.count)
            }
            #expect(count == bytes.count)
            close(descriptor)
        }
        let file = try ConfigurationFile(reading: path)
        #expect(String(decoding: file.bytes, as: UTF8.self) == BrokerConfiguration.manual)
        let loaded = try BrokerConfiguration.load(file: file)
        #expect(loaded.configuration == BrokerConfiguration())
    }

    /// With every '#' before a key taken away, the manual is a file with all keys that says the defaults.
    @Test func theManualWithoutCommentSignsSaysTheDefaults() throws {
        let text = BrokerConfiguration.manual.split(separator: "\n").map { line in
            line.hasPrefix("#") && !line.hasPrefix("# ") ? line.dropFirst() : line
        }.joined(separator: "\n")
        let loaded = try Self.load(text)
        #expect(loaded.configuration == BrokerConfiguration())
        for key in BrokerConfiguration.keys { #expect(loaded.origin(of: key) != .builtIn) }
        #expect(BrokerConfiguration.manual.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }

    // MARK: Sources

    @Test func laterSourcesWin() throws {
        let text = "[listener]\nidle.timeout = 1m\nhello.timeout = 1s\nwrite.timeout = 1s"
        let environment = [
            "MARTLET_LISTENER_HELLO_TIMEOUT": "2s", "MARTLET_LISTENER_WRITE_TIMEOUT": "2s",
            "PATH": "/bin", "MARTLET_SERVER": "x", "MARTLET_SEED": "1", "MARTLET_FAILPOINT": "y",
            "MARTLET_FUZZ_ITERATIONS": "3", "MARTLET_SERVICE_HOST": "h",
            "MARTLET_PORT": "tcp://h:1", "MARTLET_ADMIN_SERVICE_HOST": "h",
            "MARTLET_ADMIN_SERVICE_PORT_METRICS": "7701", "MARTLET_ADMIN_PORT": "tcp://h:1",
            "MARTLET_ADMIN_PORT_7701_TCP_ADDR": "h",
        ]
        let overrides = [
            ConfigurationOverride(
                flag: "--write", section: "listener", key: "write.timeout", value: "3s")
        ]
        let loaded = try Self.load(text, environment, overrides)
        #expect(loaded.configuration.listener.idleTimeoutMilliseconds == 60_000)
        #expect(loaded.configuration.listener.helloTimeoutMilliseconds == 2_000)
        #expect(loaded.configuration.listener.writeTimeoutMilliseconds == 3_000)
        let origins = ["idle.timeout", "hello.timeout", "write.timeout", "listen"].compactMap {
            BrokerConfiguration.key("listener", $0).map { loaded.origin(of: $0).description }
        }
        #expect(
            origins == [
                "m.conf:2", "environment variable MARTLET_LISTENER_HELLO_TIMEOUT", "--write",
                "default",
            ])
    }

    @Test func variableNames() {
        #expect(
            BrokerConfiguration.key("listener", "allow-anonymous")?.environmentVariable
                == "MARTLET_LISTENER_ALLOW_ANONYMOUS")
        #expect(
            BrokerConfiguration.key("topic", "retention.time")?.environmentVariable
                == "MARTLET_TOPIC_RETENTION_TIME")
    }

    @Test(arguments: [
        (
            "[listener]\nidle.timeot = 5m",
            "m.conf:2: unknown key 'idle.timeot' in [listener]; did you mean 'idle.timeout'?"
        ),
        (
            "[listner]\nidle.timeout = 5m",
            "m.conf:2: unknown section [listner]; did you mean 'listener'?"
        ),
        (
            "[listener]\n\nretention.time = 5m",
            "m.conf:3: unknown key 'retention.time' in [listener]; it belongs to [topic]"
        ),
        ("[listener]\nxyzzy = 5m", "m.conf:2: unknown key 'xyzzy' in [listener]"),
        (
            "[listener]\nidle.timeout = 5",
            "m.conf:2: [listener] idle.timeout: '5' has no unit: write ms, s, m, h or d after the number"
        ),
        (
            "[listener]\nidle.timeout = 5y",
            "m.conf:2: [listener] idle.timeout: '5y' has an unknown unit: use one of ms, s, m, h, d"
        ),
        (
            "[listener]\nconnections.max = 0",
            "m.conf:2: [listener] connections.max: '0' is outside of 1 to 1000000"
        ),
        (
            "[topic]\nbatch.bytes.max = 9MiB",
            "m.conf:2: [topic] batch.bytes.max: '9MiB' is outside of 1KiB to 8MiB"
        ),
        (
            "[topic]\nretention.time = -2d",
            "m.conf:2: [topic] retention.time: '-2d' is outside of 1ms to 36525d, or -1 for ever"
        ),
        (
            "[topic]\ndurability = durabel",
            "m.conf:2: [topic] durability: 'durabel' is not one of durable, written; did you mean 'durable'?"
        ),
        (
            "[log]\nlevel = \"\"",
            "m.conf:2: [log] level: '' is not one of debug, info, notice, warning, error"
        ),
        (
            "[listener]\nlisten = 7700",
            "m.conf:2: [listener] listen: '7700' is not HOST:PORT, such as 127.0.0.1:7700"
        ),
        (
            "[listener]\nallow-anonymous = yes",
            "m.conf:2: [listener] allow-anonymous: 'yes' is not a boolean: write true or false"
        ),
    ])
    func row22_aTypoIsNamedWithLineAndNearestName(text: String, message: String) {
        #expect(Self.problems(text) == [message])
    }

    @Test func allProblemsAreReportedAtOnce() {
        let problems = Self.problems(
            "x\n[log]\nlevel = loud\nformt = json",
            ["MARTLET_LOG_FORMT": "json", "MARTLET_LOG_LEVEL": "quiet"])
        #expect(
            problems == [
                "m.conf:1: expected 'key = value' or '[section]', found 'x'",
                "m.conf:3: [log] level: 'loud' is not one of debug, info, notice, warning, error",
                "m.conf:4: unknown key 'formt' in [log]; did you mean 'format'?",
                "unknown environment variable 'MARTLET_LOG_FORMT'; did you mean 'MARTLET_LOG_FORMAT'?",
                "environment variable MARTLET_LOG_LEVEL: [log] level: 'quiet' is not one of debug, info, notice, warning, error",
            ])
    }

    @Test func problemsAreBounded() {
        let text = "[log]\n" + (0..<50_000).map { "k\($0) = 1\n" }.joined()
        #expect(Self.problems(text).count == 100)
    }

    // MARK: Combinations

    @Test(arguments: [
        (
            "[listener]\nlisten = 0.0.0.0:7700",
            "m.conf:2: [listener] listen = 0.0.0.0:7700 is open to other machines and there is no authentication: set [listener] allow-anonymous = true, or listen on 127.0.0.1"
        ),
        (
            "[admin]\nlisten = [::]:7701",
            "m.conf:2: [admin] listen = [::]:7701 is open to other machines and there is no authentication: set [admin] allow-anonymous = true, or listen on 127.0.0.1"
        ),
        (
            "[admin]\nlisten = 127.0.0.1:7700",
            "m.conf:2: [listener] listen and [admin] listen are both 127.0.0.1:7700"
        ),
        (
            "[listener]\nframe.bytes.max = 1MiB",
            "m.conf:2: [listener] frame.bytes.max = 1MiB must be larger by 64KiB than [topic] batch.bytes.max = 1MiB"
        ),
        (
            "[listener]\n\noutput.bytes.max = 8MiB",
            "m.conf:3: [listener] output.bytes.max = 8MiB must be at least as large as [listener] frame.bytes.max = 16MiB"
        ),
        (
            "[listener]\nmemory.bytes.max = 8MiB",
            "m.conf:2: [listener] memory.bytes.max = 8MiB must be at least as large as [listener] output.bytes.max = 32MiB"
        ),
        (
            "[listener]\nconnections.max = 255",
            "m.conf:2: [listener] connections.max = 255 must be at least as large as [listener] connections.per.address.max = 256"
        ),
        (
            "[storage]\ndisk.free.low = 1GiB\ndisk.free.high = 1GiB",
            "m.conf:3: [storage] disk.free.high = 1GiB must be larger than [storage] disk.free.low = 1GiB"
        ),
        (
            "[storage]\nwritten.sync.bytes = 512MiB",
            "m.conf:2: [storage] unsynced.written.partition.bytes.max = 256MiB must be at least as large as [storage] written.sync.bytes = 512MiB"
        ),
        (
            "[topic]\nsegment.bytes = 64KiB",
            "m.conf:2: [topic] segment.bytes = 64KiB must be at least as large as [topic] batch.bytes.max = 1MiB"
        ),
        (
            "[storage]\nretention.time.max = 2d",
            "m.conf:2: [storage] retention.time.max = 2d must be at least as large as [topic] retention.time = 7d"
        ),
        (
            "[storage]\nretention.time.max = 14d\n[topic]\nretention.time = -1",
            "m.conf:4: [storage] retention.time.max = 14d must be at least as large as [topic] retention.time = -1"
        ),
    ])
    func impossibleCombinations(text: String, message: String) {
        #expect(Self.problems(text) == [message])
    }

    @Test func openListenersNeedTheWordAndAreNamed() throws {
        let loaded = try Self.load(
            "[listener]\nlisten = 0.0.0.0:7700\nallow-anonymous = true\n[admin]\nlisten = localhost:1"
        )
        #expect(loaded.configuration.openListeners.map(\.name) == ["listener"])
        #expect(BrokerConfiguration().openListeners.isEmpty)
        #expect(BrokerConfiguration().combinationProblems.isEmpty)
    }

    // MARK: Text and reload

    @Test func theEffectiveTextComesBack() throws {
        let overrides = [
            ConfigurationOverride(
                flag: "--data", section: "storage", key: "data", value: "/a #\"b\\\n ")
        ]
        let loaded = try Self.load("[log]\nlevel = debug", [:], overrides)
        let text = loaded.effectiveText
        #expect(try Self.load(text).configuration == loaded.configuration)
        #expect(text.contains("\nlevel = debug  # m.conf:2\n"))
        #expect(text.contains("\nformat = text  # default\n"))
        #expect(text.hasPrefix("[listener]\nlisten "))
    }

    @Test func aReloadTakesOnlyWhatCanBeReloaded() throws {
        let old = BrokerConfiguration()
        let new = try Self.load(
            "[log]\nlevel = debug\nformat = json\n[listener]\nidle.timeout = 1m"
        )
        .configuration
        let changes = old.changes(to: new)
        #expect(
            changes.map { "\($0.key.title): \($0.before) -> \($0.after) \($0.key.isReloadable)" }
                == [
                    "[listener] idle.timeout: 10m -> 1m true", "[log] level: info -> debug true",
                    "[log] format: text -> json false",
                ])
        let taken = try old.takingReloadable(from: new)
        #expect(taken.log.level == "debug")
        #expect(taken.log.format == "text")
        #expect(taken.listener.idleTimeoutMilliseconds == 60_000)
    }

    @Test func aReloadThatWouldNotHoldTogetherIsRefused() throws {
        var running = BrokerConfiguration()
        running.listener.connectionsMax = 10
        running.listener.connectionsPerAddressMax = 10
        running.storage.diskReserveBytes = 512 << 20
        running.storage.diskFreeLowBytes = 512 << 20
        running.storage.diskFreeHighBytes = 1 << 30
        #expect(throws: ConfigurationFailure.self) {
            try running.takingReloadable(from: BrokerConfiguration())
        }
    }

    @Test func randomTextsNeverTrap() {
        var random = SeededRandom.announced()
        let words =
            BrokerConfiguration.keys.flatMap { [$0.name, $0.section, $0.defaultText] }
            + [
                "[", "]", "=", "\n", "\n", "#", "\"", " ", "-1", "forever", "9223372036854775807",
                "d", "TiB",
            ]
        for _ in 0..<random.iterations(300) {
            var text = ""
            for _ in 0..<Int.random(in: 0..<40, using: &random) {
                text += words[Int.random(in: 0..<words.count, using: &random)]
            }
            _ = Self.problems(text)
            _ = Self.problems("", ["MARTLET_" + text: text, "MARTLET_TOPIC_RETENTION_TIME": text])
        }
    }
}
