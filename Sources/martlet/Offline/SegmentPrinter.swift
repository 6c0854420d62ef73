import MartletConfiguration
import MartletFormat
import MartletJSON

/// Shows batches one by one, so that a large segment needs no memory.
struct SegmentPrinter {
    private let format: OutputFormat
    private let showsRecords: Bool
    private let isQuiet: Bool
    private let hasHeader: Bool
    private let output: Output
    private var isFirst = true
    private var buffer: [UInt8] = []

    private static let columns = [
        ("POSITION", 12), ("OFFSET", 12), ("RECORDS", 8), ("BYTES", 9), ("EPOCH", 6),
        ("PRODUCER", 20), ("SEQUENCE", 9), ("CRC", 11),
    ]

    init(_ context: CommandContext) throws {
        format = context.format()
        showsRecords = context.invocation.has("records")
        isQuiet = context.invocation.has("quiet")
        hasHeader = !context.invocation.has("no-headers")
        output = context.output
    }

    mutating func show(
        _ header: RecordBatchHeader, _ at: Int64, _ state: BatchState, _ batch: RawSpan
    ) throws {
        if isQuiet { return }
        let records = showsRecords ? Self.records(header, batch) : nil
        switch format {
        case .json:
            buffer += (isFirst ? "[\n" : ",\n").utf8
            JSONWriter.append(Self.json(header, at, state, records), to: &buffer)
        case .jsonl:
            JSONWriter.append(Self.json(header, at, state, records), to: &buffer)
            buffer.append(0x0A)
        case .table, .name, .raw:
            if isFirst, hasHeader { headerLine() }
            row(header, at, state)
            for record in records ?? [] { recordLine(record) }
        }
        isFirst = false
        if buffer.count >= 1 << 16 { try flush() }
    }

    mutating func finish() throws {
        if format == .json, !isQuiet { buffer += (isFirst ? "[]\n" : "\n]\n").utf8 }
        try flush()
    }

    private mutating func flush() throws {
        try output.write(buffer)
        buffer.removeAll(keepingCapacity: true)
    }

    private mutating func headerLine() {
        for (title, width) in Self.columns { buffer += Self.right(title, width).utf8 }
        buffer += "  STATE      MAX TIME\n".utf8
    }

    private mutating func row(_ header: RecordBatchHeader, _ at: Int64, _ state: BatchState) {
        let cells = [
            "\(at)", "\(header.baseOffset)", "\(header.recordCount)", "\(header.byteCount)",
            "\(header.leaderEpoch)",
            header.hasProducerID ? "\(header.producerID)/\(header.producerEpoch)" : "-",
            header.hasProducerID ? "\(header.baseSequence)" : "-", Shown.hex(header.checksum),
        ]
        for (cell, column) in zip(cells, Self.columns) {
            buffer += Self.right(cell, column.1).utf8
        }
        let word = state.rawValue
        let padding = String(repeating: " ", count: 11 - word.utf8.count)
        buffer += "  \(word)\(padding)\(TimeText.text(header.maxTimestamp))\n".utf8
    }

    private mutating func recordLine(_ record: JSONValue) {
        buffer += "    ".utf8
        JSONWriter.append(record, to: &buffer)
        buffer.append(0x0A)
    }

    private static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(1, width - text.utf8.count)) + text
    }

    private static func json(
        _ header: RecordBatchHeader, _ at: Int64, _ state: BatchState, _ records: [JSONValue]?
    ) -> JSONValue {
        var object: JSONObject = [
            "position": .integer(at), "baseOffset": .integer(header.baseOffset),
            "lastOffset": .integer(header.lastOffset), "records": JSONValue(header.recordCount),
            "bytes": JSONValue(header.byteCount), "leaderEpoch": JSONValue(header.leaderEpoch),
            "producerID": .integer(header.producerID),
            "producerEpoch": JSONValue(header.producerEpoch),
            "baseSequence": JSONValue(header.baseSequence),
            "attributes": JSONValue(header.attributes),
            "baseTimestamp": .integer(header.baseTimestamp),
            "maxTimestamp": .integer(header.maxTimestamp),
            "checksum": .string(Shown.hex(header.checksum)), "state": .string(state.rawValue),
        ]
        if let records { object["recordList"] = .array(records) }
        return .object(object)
    }

    /// The records that can be parsed; the check has told of the others.
    private static func records(_ header: RecordBatchHeader, _ batch: RawSpan) -> [JSONValue] {
        guard header.codec == 0 else { return [] }
        var result: [JSONValue] = []
        var cursor = RecordCursor(header)
        do throws(FormatError) {
            while let record = try cursor.next(in: batch) {
                var object: JSONObject = [
                    "offset": .integer(header.baseOffset &+ Int64(record.offsetDelta)),
                    "timestamp": .integer(header.baseTimestamp &+ record.timestampDelta),
                ]
                RecordJSON.add("key", record.key.map { copy(batch, $0) }, to: &object)
                RecordJSON.add("value", record.value.map { copy(batch, $0) }, to: &object)
                object["headers"] = .array(try headers(record, batch))
                result.append(.object(object))
            }
        } catch {
            result.append(["error": .string("\(error)")])
        }
        return result
    }

    private static func headers(
        _ record: RecordFields, _ batch: RawSpan
    ) throws(FormatError) -> [JSONValue] {
        var result: [JSONValue] = []
        var cursor = HeaderCursor(record)
        while let header = try cursor.next(in: batch) {
            var object: JSONObject = [
                "key": .string(String(decoding: copy(batch, header.key), as: UTF8.self))
            ]
            RecordJSON.add("value", header.value.map { copy(batch, $0) }, to: &object)
            result.append(.object(object))
        }
        return result
    }

    private static func copy(_ batch: RawSpan, _ range: Range<Int>) -> [UInt8] {
        let part = batch.extracting(range)
        return unsafe part.withUnsafeBytes { unsafe Array($0) }
    }
}
