import MartletConfiguration

/// `martlet check-config FILE`: what `martletd --check` does, without the daemon.
enum CheckConfigCommand {
    static let command: Command = Command(
        CommandSpec(
            "check-config", "Check a configuration file of martletd.",
            discussion: [
                "Prints the configuration that would be in force, each value with its origin. Every "
                    + "problem is told with its line, and the exit code is then 2. The environment's "
                    + "MARTLET_* variables count unless --no-environment is given."
            ],
            arguments: [ArgumentSpec("FILE", "The configuration file.")],
            flags: [
                FlagSpec("no-environment", "Look at the file alone."),
                FlagSpec("quiet", short: "q", "Print nothing when all is well."),
            ],
            examples: [
                ExampleSpec("martlet check-config /etc/martlet/martlet.conf", "Before a restart")
            ])
    ) { context in
        let file = try ConfigurationFile(reading: context.argument(0))
        let environment = context.invocation.has("no-environment") ? [:] : context.environment
        do throws(ConfigurationFailure) {
            let loaded = try BrokerConfiguration.load(file: file, environment: environment)
            if !context.invocation.has("quiet") { try show(loaded, context) }
        } catch {
            for problem in error.problems { context.output.message("\(problem)") }
            throw ToolError.silent(.usage)
        }
    }

    private static func show(
        _ loaded: LoadedConfiguration, _ context: CommandContext
    ) throws(ConfigurationFailure) {
        do {
            try context.output.write(loaded.effectiveText)
        } catch {
            // A reader that is gone changes nothing about the check.
        }
    }
}
