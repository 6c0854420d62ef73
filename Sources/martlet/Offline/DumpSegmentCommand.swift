import MartletConfiguration
import MartletFormat
import MartletJSON
import MartletSystem

/// `martlet dump segment FILE`: the batches of a segment, and whether they are sound.
enum DumpSegmentCommand {
    static let command: Command = Command(
        CommandSpec(
            "segment", "Show the batches of a segment file.",
            discussion: [
                "With --verify each checksum is computed, each record parsed and the offsets held "
                    + "against each other; what is wrong goes to standard error and the exit code "
                    + "is then 2. Zeros at the end are space that was written ahead."
            ],
            arguments: [ArgumentSpec("FILE", "A .log file below topics/.")],
            flags: [
                FlagSpec("verify", "Check everything that can be checked."),
                FlagSpec("records", short: "r", "Show the records of each batch too."),
                FlagSpec("quiet", short: "q", "Only the summary and what is wrong."),
                FlagSpec(
                    "from", value: "POSITION", "Begin at this byte, which must begin a batch."),
                CommonFlags.output, CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec(
                    "martlet dump segment 00000000000000000000.log --verify",
                    "Is every batch sound?"),
                ExampleSpec(
                    "martlet dump segment 00000000000000000000.log --records -o jsonl",
                    "Everything, for a program"),
            ])
    ) { context in
        let path = try context.argument(0)
        let file = try PosixFileSystem().open(path, .readOnly)
        var dump = SegmentDump(
            printer: try SegmentPrinter(context), verifies: context.invocation.has("verify"))
        let from = try context.invocation.integer("from", in: 0 ... .max) ?? 0
        try dump.run(file, from: from)
        try dump.printer.finish()
        for problem in dump.problems { context.output.message(problem) }
        context.output.message(dump.summary)
        if !dump.problems.isEmpty { throw ToolError.silent(.usage) }
    }
}

/// Walks the batches of a segment.
struct SegmentDump {
    var printer: SegmentPrinter
    let verifies: Bool

    private(set) var problems: [String] = []
    private var batches = 0
    private var records = 0
    private var bytes: Int64 = 0
    private var zerosAt: Int64?
    private var nextOffset: Int64?

    init(printer: SegmentPrinter, verifies: Bool) {
        self.printer = printer
        self.verifies = verifies
    }

    mutating func run(_ file: any File, from start: Int64) throws {
        var reader = try SegmentReader(file, from: start)
        while true {
            switch try reader.next() {
            case .batch(let header, let at):
                try take(header, at, reader.bytes)
            case .zeros(let at):
                zerosAt = at
                return
            case .bad(let at, let reason):
                problems.append("position \(at): \(reason)")
                return
            case .end: return
            }
        }
    }

    private mutating func take(
        _ header: RecordBatchHeader, _ at: Int64, _ batch: RawSpan
    ) throws {
        batches += 1
        records += Int(header.recordCount)
        bytes += Int64(header.byteCount)
        var state = BatchState.unchecked
        if verifies {
            let complaints = check(header, batch)
            problems += complaints.map { "position \(at), offset \(header.baseOffset): \($0)" }
            state = complaints.isEmpty ? .sound : .bad
        }
        nextOffset = header.nextOffset
        try printer.show(header, at, state, batch)
    }

    private func check(_ header: RecordBatchHeader, _ batch: RawSpan) -> [String] {
        var complaints: [String] = []
        if let nextOffset, header.baseOffset < nextOffset {
            complaints.append("begins below \(nextOffset), where the batch before it ends")
        }
        do throws(FormatError) {
            try RecordBatch.checkChecksum(batch, header)
            guard header.codec == 0 else { return complaints }
            var cursor = RecordCursor(header)
            while let record = try cursor.next(in: batch) {
                var headers = HeaderCursor(record)
                while try headers.next(in: batch) != nil {}
            }
        } catch {
            complaints.append("\(error)")
        }
        return complaints
    }

    var summary: String {
        var text =
            "\(Shown.plural(batches, "batch")), \(Shown.plural(records, "record")), "
            + "\(Shown.bytes(bytes))"
        text = text.replacing("batchs", with: "batches")
        if let zerosAt { text += ", then zeros from position \(zerosAt)" }
        if !problems.isEmpty {
            return text + "; \(Shown.plural(problems.count, "problem"))"
        }
        return verifies ? text + "; everything is sound" : text
    }
}

enum BatchState: String {
    case unchecked, sound, bad
}
