import MartletConfiguration
import MartletSystem

/// `martletd`: reads the command line and the configuration, and runs the broker until a signal
/// ends it. The exit codes are those of `DaemonExitCode`.
@main
struct Main {
    static func main() {
        CurrentProcess.restrictFileModes()
        MemoryRoom.prepare()
        Signals.ignoreBrokenPipe()
        Signals.ignoreFileSizeLimit()
        let status = answer(to: CommandLine.arguments.dropFirst())
        CurrentProcess.exitNow(status.rawValue)
    }

    /// Returns for everything but a broker that runs.
    private static func answer(to words: some Collection<String>) -> DaemonExitCode {
        do throws(CommandLineError) {
            switch try DaemonCommandLine.parse(words) {
            case .help(let text): return say(text)
            case .version: return say("martletd \(Product.version)\n")
            case .run(let commandLine): return run(commandLine)
            }
        } catch {
            complain("martletd: \(error)")
            return .usage
        }
    }

    private static func run(_ commandLine: DaemonCommandLine) -> DaemonExitCode {
        do throws(ConfigurationFailure) {
            let loaded = try commandLine.loadConfiguration()
            if commandLine.isCheck { return say(loaded.effectiveText) }
            // Before there is any other thread.
            let signals = SignalWait(SignalSource.Kind.allCases)
            Daemon(commandLine, loaded.configuration).run(signals)
        } catch {
            for problem in error.problems { complain("martletd: \(problem)") }
            return .configuration
        }
    }

    /// Prints what was asked for. A reader that went away early has seen enough.
    private static func say(_ text: String) -> DaemonExitCode {
        do throws(SystemError) {
            try StandardStream.output.write(text)
        } catch  where error.isDisconnect {
            return .ok
        } catch {
            complain("martletd: cannot write to standard output: \(error)")
            return .storage
        }
        return .ok
    }

    /// One line for a person. Nothing is left to tell it to when standard error is closed.
    private static func complain(_ line: String) {
        do throws(SystemError) {
            try StandardStream.error.write(line + "\n")
        } catch {
            return
        }
    }
}

extension DaemonCommandLine {
    /// The defaults, the file, the environment and the flags, laid over each other. Reads the file
    /// anew each time.
    func loadConfiguration() throws(ConfigurationFailure) -> LoadedConfiguration {
        var file: ConfigurationFile?
        if let configurationFile { file = try ConfigurationFile(reading: configurationFile) }
        return try BrokerConfiguration.load(
            file: file, environment: Environment.current(), overrides: overrides)
    }
}
