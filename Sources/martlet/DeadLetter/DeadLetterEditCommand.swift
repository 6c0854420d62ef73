import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq edit`.
enum DeadLetterEditCommand {
    static let command: Command = Command(
        CommandSpec(
            "edit", "Change what a replay of a dead letter sends.",
            discussion: [
                "Opens the value in $VISUAL or $EDITOR, unless the flags say what to change. What died "
                    + "stays in GROUP.dlq, and who changed it, when and why stands there too. Nothing "
                    + "is sent before 'martlet dlq replay'."
            ],
            arguments: [GroupCommands.argument, DeadLetterCommands.number],
            flags: [
                FlagSpec("value-file", value: "FILE", "The new value; - is standard input."),
                FlagSpec("key", short: "k", value: "KEY", "The new key."),
                FlagSpec(
                    "header", short: "H", value: "KEY=VALUE", repeatable: true,
                    "A header, in the place of those with this name."),
                FlagSpec("note", value: "TEXT", "Why; it is kept."),
                CommandContext.authorFlag, CommonFlags.result,
            ],
            examples: [
                ExampleSpec("martlet dlq edit notify 17 --note 'tail number added'", "By hand"),
                ExampleSpec(
                    "martlet dlq show notify 17 -o raw | jq '.tail = \"N1\"' "
                        + "| martlet dlq edit notify 17 --value-file -", "By a program"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let number = try LetterFilter.number(try context.argument(1), "N", context)
        let change = try Change(context)
        let note = context.invocation.value("note") ?? ""
        let author = context.author
        let wantsJSON = context.wantsJSON
        let view = try await context.withClient { try await context.letter($0, name, number) }
        guard let record = view.newest.map({ RecordView($0.record) }) else {
            throw DeadLetterShowCommand.missing(number, name)
        }
        guard !view.letter.isReplaying else {
            throw ToolError(
                .conflict,
                "dead letter \(number) is with group \(name): nothing was changed "
                    + "(DEAD_LETTER_BUSY)")
        }
        // No connection is held open while somebody types.
        let edited = try await change.apply(to: record, context)
        let isChanged =
            edited.value != record.value || edited.key != record.key
            || edited.headers != record.headers
        if isChanged {
            try await context.withClient { client in
                try await client.admin.editDeadLetter(
                    number, of: name, key: edited.key, value: edited.value,
                    headers: edited.headers, timestamp: record.timestamp, author: author,
                    note: note)
            }
        }
        if wantsJSON {
            try context.output.jsonLine([
                "group": .string(name), "number": JSONValue(number),
                "edited": .boolean(isChanged), "author": .string(author), "note": .string(note),
            ])
        } else {
            context.output.message(
                isChanged
                    ? "edited dead letter \(number) of group \(name); 'martlet dlq replay \(name) "
                        + "--id \(number) --execute' sends it" : "nothing was changed")
        }
    }

    /// What the flags ask for.
    struct Change: Sendable {
        private let valueFile: String?
        private let key: [UInt8]?
        private let headers: [RecordHeader]
        /// nil: the flags say it all.
        private let editor: String?

        init(_ context: CommandContext) throws {
            valueFile = context.invocation.value("value-file")
            key = context.invocation.value("key").map { Array($0.utf8) }
            headers = try context.invocation.values("header").map { text in
                let pair = try KeyValue(parsing: text, context)
                return RecordHeader(pair.key, pair.value)
            }
            guard valueFile == nil, key == nil, headers.isEmpty else {
                editor = nil
                return
            }
            let names = ["VISUAL", "EDITOR"].compactMap { context.environment[$0] }
            guard let first = names.first(where: { !$0.isEmpty }) else {
                throw context.usage(
                    "set EDITOR, or say what to change: --value-file, --key, --header")
            }
            editor = first
        }

        func apply(
            to record: RecordView, _ context: CommandContext
        ) async throws -> (key: [UInt8]?, value: [UInt8]?, headers: [RecordHeader]) {
            var value = record.value
            if let valueFile {
                value = Self.trimmed(try await WholeInput.read(valueFile), like: record.value)
            }
            if let editor { value = try Self.edit(record.value, editor, context) }
            let names = Set(headers.map(\.key))
            return (
                key ?? record.key, value,
                record.headers.filter { !names.contains($0.key) } + headers
            )
        }

        /// Editors and pipes end a file with a new line that the value did not have.
        private static func trimmed(_ bytes: [UInt8], like old: [UInt8]?) -> [UInt8] {
            bytes.last == 0x0A && old?.last != 0x0A ? Array(bytes.dropLast()) : bytes
        }

        private static func write(_ bytes: [UInt8], to file: any File) throws(SystemError) {
            try unsafe bytes.span.withUnsafeBytes { bytes throws(SystemError) in
                try unsafe file.write(bytes, at: 0)
            }
            try file.close()
        }

        private static func edit(
            _ value: [UInt8]?, _ editor: String, _ context: CommandContext
        ) throws -> [UInt8]? {
            let folder = context.environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/tmp"
            let path = "\(folder)/martlet-\(String(try SecureRandom.uint64(), radix: 16)).txt"
            let files = PosixFileSystem()
            let file = try files.open(path, .createNew)
            defer { try? files.removeFile(path) }
            try write(value ?? [], to: file)
            let status = try ForegroundProgram.run(shell: "\(editor) \"$1\"", [path])
            guard status == 0 else {
                throw ToolError.failure("the editor ended with \(status): nothing was changed")
            }
            let edited = trimmed(try WholeInput.file(path), like: value)
            return value == nil && edited.isEmpty ? nil : edited
        }
    }
}
