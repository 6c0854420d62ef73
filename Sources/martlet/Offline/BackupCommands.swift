import MartletConfiguration
import MartletJSON
import MartletStorage
import MartletSystem

/// `martlet backup` and `martlet restore`: whole copies of a data directory, without the broker's
/// help.
enum BackupCommands {
    static let backup: Command = Command(
        CommandSpec(
            "backup", "Copy a data directory, also one that a broker is using.",
            discussion: [
                "The copy holds everything that was acknowledged as durable before the command "
                    + "began. Closed segments are hard-linked, so a copy on the same file system "
                    + "takes little time and space; elsewhere they are copied.",
                "The copy is a data directory itself. Its files share their bytes with the "
                    + "original: never start a broker on it, restore it first.",
            ],
            arguments: [
                ArgumentSpec("DATA", "The data directory."),
                ArgumentSpec("TARGET", "A folder that does not exist yet, or is empty."),
            ],
            flags: [
                FlagSpec("copy", "Copy everything; share nothing with the original."),
                CommonFlags.result,
            ],
            examples: [
                ExampleSpec(
                    "martlet backup /var/lib/martlet /var/backups/martlet-monday",
                    "On the same file system: seconds"),
                ExampleSpec(
                    "martlet backup /var/lib/martlet /mnt/disk2/martlet --copy",
                    "Apart from the original"),
            ])
    ) { context in
        let links = !context.invocation.has("copy")
        try run(context, "backed up") { source, target in
            try Backup(from: source, to: target, PosixFileSystem(), links: links).run()
        }
    }

    static let restore: Command = Command(
        CommandSpec(
            "restore", "Make a data directory from a backup.",
            discussion: [
                "Everything is copied, so the backup stays as it is and can serve again. A broker "
                    + "that starts on the new directory takes it for one after an unclean stop.",
                "Ids of producers go on above all that were given before the restore, so producers "
                    + "that are still at work disturb no new ones.",
            ],
            arguments: [
                ArgumentSpec("BACKUP", "What `martlet backup` made."),
                ArgumentSpec("DATA", "A folder that does not exist yet, or is empty."),
            ],
            flags: [CommonFlags.result],
            examples: [
                ExampleSpec(
                    "martlet restore /var/backups/martlet-monday /var/lib/martlet",
                    "Then start martletd, and look at `martlet doctor`")
            ])
    ) { context in
        try run(context, "restored") { backup, target in
            try Backup.restore(
                backup, to: target, PosixFileSystem(),
                wallMilliseconds: SystemClock().wallMilliseconds())
        }
    }

    private static func run(
        _ context: CommandContext, _ done: String,
        _ copy: (_ source: String, _ target: String) throws -> Backup.Report
    ) throws {
        let (source, target) = (try context.argument(0), try context.argument(1))
        let report = try copy(source, target)
        context.output.message(
            "\(done) \(Shown.plural(report.topics, "topic")), "
                + "\(Shown.plural(report.partitions, "partition")): "
                + "\(Shown.bytes(report.linkedBytes)) linked, "
                + "\(Shown.bytes(report.copiedBytes)) copied.")
        if context.wantsJSON {
            try context.output.jsonLine([
                "source": .string(source), "target": .string(target),
                "topics": JSONValue(report.topics),
                "partitions": JSONValue(report.partitions),
                "linkedBytes": .integer(report.linkedBytes),
                "copiedBytes": .integer(report.copiedBytes),
            ])
        }
    }
}
