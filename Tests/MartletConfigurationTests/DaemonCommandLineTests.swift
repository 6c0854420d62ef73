import MartletConfiguration
import Testing

@Suite struct DaemonCommandLineTests {
    @Test func flagsOverrideTheConfiguration() throws {
        let request = try DaemonCommandLine.parse([
            "--config", "m.conf", "--data=/d", "--listen", "127.0.0.1:0", "--admin=[::1]:0",
            "--ready-file", "/r",
        ])
        guard case .run(let line) = request else {
            Issue.record("\(request)")
            return
        }
        #expect(line.configurationFile == "m.conf")
        #expect(line.readyFile == "/r")
        #expect(!line.isCheck)
        let configuration = try BrokerConfiguration.load(overrides: line.overrides).configuration
        #expect(configuration.storage.data == "/d")
        #expect(configuration.listener.listen == HostPort(host: "127.0.0.1", port: 0))
        #expect(configuration.admin.listen == HostPort(host: "::1", port: 0))
    }

    @Test func aBadFlagValueIsNamedByItsFlag() throws {
        guard case .run(let line) = try DaemonCommandLine.parse(["--listen", "x", "--check"]) else {
            return
        }
        #expect(line.isCheck)
        let failure = #expect(throws: ConfigurationFailure.self) {
            try BrokerConfiguration.load(overrides: line.overrides)
        }
        #expect(
            failure?.description
                == "--listen: [listener] listen: 'x' is not HOST:PORT, such as 127.0.0.1:7700")
    }

    @Test func otherRequests() throws {
        #expect(try DaemonCommandLine.parse(["--version"]) == .version)
        #expect(throws: CommandLineError.self) { try DaemonCommandLine.parse(["serve"]) }
        #expect(throws: CommandLineError.self) {
            try DaemonCommandLine.parse(["--data", "a", "--data", "b"])
        }
        #expect(DaemonCommandLine.specification.defects().isEmpty)
    }

    @Test func help() throws {
        guard case .help(let text) = try DaemonCommandLine.parse(["--help"]) else {
            Issue.record("no help")
            return
        }
        let expected = """
            The Martlet event broker.

            Usage: martletd [flags]

            Runs in the foreground and logs to standard error. SIGTERM and SIGINT finish the requests in flight
            and end it; SIGHUP reads the configuration file again.

            Exit codes: 0 ok, after SIGTERM or SIGINT; 64 usage error; 74 the storage failed; 78 the
            configuration is wrong.

            Flags:
              -c, --config FILE       Read the configuration from FILE; without it the defaults hold.
                  --data DIR          Keep the data in DIR, made when missing: [storage] data; /var/lib/martlet.
                  --listen HOST:PORT  Take clients at HOST:PORT, port 0 picks one: [listener] listen;
                                      127.0.0.1:7700.
                  --admin HOST:PORT   Serve metrics and health at HOST:PORT, port 0 picks one: [admin] listen;
                                      127.0.0.1:7701.
                  --ready-file FILE   Write the addresses and the process id to FILE as JSON once the broker
                                      serves.
                  --check             Print the configuration in force, each value with its origin, and exit; 78
                                      if it is wrong.
                  --version           Print the version and exit.
              -h, --help              Show this help.

            Examples:
              # Run with a configuration
              martletd --config /etc/martlet/martlet.conf
              # Try it out on a free port
              martletd --data /tmp/martlet --listen 127.0.0.1:0 --ready-file /tmp/martlet.ready
              # Look at a configuration before a restart
              martletd --config martlet.conf --check

            """
        #expect(text == expected)
    }
}
