import MartletBroker
import MartletClient
import MartletFormat
import MartletStorage
import MartletWire

/// The parts of Protocol.md that the code says.
enum ProtocolParts {
    static func all() throws -> [String: String] {
        var parts = [
            "operations": operations, "errors": errors, "limits": limits,
            "batch-header": batchHeader, "batch-example": batchExample, "prefix-chain": prefixChain,
            "crc-vectors": crcVectors, "varint-vectors": varintVectors,
            "partitioner-vectors": partitionerVectors, "topic-settings": topicSettings,
            "error-example": block(try reply(.fetch, ExampleMessages.refusal, correlation: 9)),
        ]
        for operation in Operation.allCases {
            let types = MessageCatalog.messages(of: operation)
            parts["\(operation.name).request"] =
                "\(versions(of: operation)), since protocol version 1.\n\n"
                + (try description(types.request, "Request"))
            parts["\(operation.name).reply"] = try description(types.reply, "Reply")
            parts["\(operation.name).example"] = try example(operation)
        }
        return parts
    }

    // MARK: - Tables

    private static var operations: String {
        var rows = ["| number | name | versions | needs the right to |", "|---:|---|---|---|"]
        for operation in Operation.allCases {
            let access = operation.access
            let span = versions(of: operation).split(separator: " ", maxSplits: 1)[1]
            rows.append(
                "| \(operation.rawValue) | [\(operation.name)](#\(operation.name)) | \(span) "
                    + "| \(access.action.rawValue) the \(access.resource.rawValue) |")
        }
        return rows.joined(separator: "\n")
    }

    private static func versions(of operation: Operation) -> String {
        let versions = operation.versions
        return versions.count == 1
            ? "Version \(versions.lowerBound)"
            : "Versions \(versions.lowerBound) to \(versions.upperBound)"
    }

    private static var errors: String {
        var rows = [
            "| number | name | retriable | outcome | closes connection | meaning |",
            "|---:|---|---|---|---|---|",
        ]
        for code in ErrorCode.allCases {
            rows.append(
                "| \(code.rawValue) | `\(code.name)` | \(code.isRetriable ? "yes" : "no") "
                    + "| \(code.outcome.rawValue) | \(code.closesConnection ? "yes" : "no") "
                    + "| \(code.text) |")
        }
        return rows.joined(separator: "\n")
    }

    private static var limits: String {
        typealias Layout = RecordBatchLayout
        let rows: [(String, Int)] = [
            ("bytes of a topic name", WireLimits.topicNameBytesMax),
            ("bytes of an error message", WireLimits.errorMessageBytesMax),
            ("bytes of a setting's key", WireLimits.settingKeyBytesMax),
            ("bytes of a setting's value", WireLimits.settingValueBytesMax),
            ("settings in one request", WireLimits.settingsMax),
            ("names, and ids, in one metadata request", WireLimits.namesMax),
            (
                "batches in one produce, partitions in one fetch, entries in one list-offsets "
                    + "or delete-records", WireLimits.partitionsPerRequestMax
            ),
            ("topics in one reply", WireLimits.topicsMax),
            ("partitions of one topic in one reply", WireLimits.partitionsPerTopicMax),
            ("offset ranges of one kind per partition in one reply", WireLimits.rangesMax),
            ("ranges that are done above a group's offset in a partition", WireLimits.finishedMax),
            (
                "of them, and those that describe-group shows, in one reply",
                WireLimits.repliedRangesMax
            ),
            ("parked records of a partition that a stream's member is told", WireLimits.parkedMax),
            ("headers of one record", Layout.headersPerRecordMax),
            (
                "bytes of all headers of one record, behind their count",
                Layout.headerBytesPerRecordMax
            ),
            ("bytes of a message id", MessageID.bytesMax),
        ]
        let lines = rows.map { "| \($0.0) | \($0.1) |" }
        return (["| what | most |", "|---|---:|"] + lines).joined(separator: "\n")
    }

    private static var topicSettings: String {
        let defaults = TopicSettings()
        let rows = TopicSettings.keys.map { key in
            let takes =
                switch key.unit {
                case .choice(let words): words.map { "`\($0)`" }.joined(separator: ", ")
                case .milliseconds: "milliseconds, \(range(of: key))"
                case .bytes: "bytes, \(range(of: key))"
                }
            let value = defaults.value(of: key.name) ?? ""
            let configured = TopicSettingText.configured(key.name)
            return
                "| `\(key.name)` | `\(configured)` | \(takes) | `\(value)` | \(key.meaning) |"
        }
        return
            ([
                "| key | key in the configuration | takes | default | meaning |",
                "|---|---|---|---|---|",
            ] + rows)
            .joined(separator: "\n")
    }

    private static func range(of key: TopicSettingKey) -> String {
        "\(key.range.lowerBound) to \(key.range.upperBound)"
            + (key.allowsUnlimited ? ", or -1" : "")
    }

    // MARK: - Messages

    private static func description(
        _ type: (some WireMessage).Type, _ what: String
    ) throws -> String {
        let table = try type.table(version: 1).trimmed
        let hasRows = table.split(separator: "\n").count > 2
        return "**\(what).** \(type.purpose)\n\n" + (hasRows ? table : "It has no fields.")
    }

    private static func example(_ operation: Operation) throws -> String {
        let (request, reply) = ExampleMessages.frames(of: operation)
        let asked = try trace(request, operation.rawValue, UInt64(operation.rawValue))
        let answered = try self.reply(operation, reply, correlation: UInt64(operation.rawValue))
        return "Example: the request\n\n\(block(asked))\n\nand its reply\n\n\(block(answered))"
    }

    private static func reply(
        _ operation: Operation, _ frame: ExampleFrame, correlation: UInt64
    ) throws -> HexTrace {
        try trace(frame, operation.rawValue | FrameHeader.replyBit, correlation)
    }

    private static func trace(
        _ frame: ExampleFrame, _ number: UInt16, _ correlation: UInt64
    ) throws -> HexTrace {
        try frame.message.trace(
            number: number, correlation: correlation, attachment: frame.attachment)
    }

    static func block(_ trace: HexTrace) -> String { "```hex\n\(trace.text)\n```" }

    // MARK: - Batches

    private static var batchHeader: String {
        let meanings = [
            "offset of the first record; the producer sends 0, the broker writes it",
            "bytes after this field",
            "of the partition; the producer sends -1, the broker writes it", "2",
            "CRC-32C of everything from `attributes` to the end of the batch",
            "bits 0-2 codec, 3 append time, 4 transactional, 5 control, 14 records left out by the broker; a producer sends 0",
            "last record's offset minus `baseOffset`",
            "event time that the records' deltas count from, milliseconds since 1970 UTC",
            "largest event time in the batch", "from init-producer, or -1",
            "from init-producer, or -1",
            "the producer's running number of the first record, or -1",
            "records in the batch",
        ]
        var rows = ["| offset | size | type | field | meaning |", "|---:|---:|---|---|---|"]
        var offset = 0
        for (field, meaning) in zip(batchHeaderFields, meanings) {
            let type = field.isHex ? "u32" : "i\(field.size * 8)"
            rows.append("| \(offset) | \(field.size) | \(type) | `\(field.name)` | \(meaning) |")
            offset += field.size
        }
        rows.append("| \(offset) | – | records | `records` | one after the other, see below |")
        return rows.joined(separator: "\n")
    }

    private static var batchExample: String {
        var trace = HexTrace()
        trace.addBatch(ExampleBatches.first, name: "batch")
        return block(trace).replacing("batch: ", with: "").replacing("batch, ", with: "")
            .replacing("```hex", with: "```batch")
    }

    private static var prefixChain: String {
        var rows = ["| batch | its first 17 bytes | running CRC-32C behind it |", "|---|---|---|"]
        var running: UInt32 = 0
        for (name, batch) in [
            ("at offset 0", ExampleBatches.storedFirst),
            ("at offset 2", ExampleBatches.storedSecond),
        ] {
            running = ExampleBatches.chain([batch], continuing: running)
            rows.append("| \(name) | `\(hex(batch.prefix(17)))` | `\(hexWord(running))` |")
        }
        return rows.joined(separator: "\n")
    }

    // MARK: - Vectors

    private static var crcVectors: String {
        let zeros = [UInt8](repeating: 0, count: 32)
        let rows = [
            ("nothing", crc([])),
            ("the 9 bytes `123456789` in ASCII", crc(Array("123456789".utf8))),
            ("32 bytes 00", crc(zeros)),
        ]
        return
            (["| bytes | CRC-32C |", "|---|---|"]
            + rows.map { "| \($0.0) | `\(hexWord($0.1))` |" }).joined(separator: "\n")
    }

    private static var varintVectors: String {
        let values: [Int64] = [
            0, -1, 1, -2, 63, -64, 64, 60_000, 13_620_000, Int64(Int32.max), Int64.max, Int64.min,
        ]
        let rows = values.map { value in
            "| \(value) | \(Varint.zigZag(value)) | `\(hex(encoded(value)))` |"
        }
        return (["| value | zig-zag | bytes |", "|---:|---:|---|"] + rows).joined(separator: "\n")
    }

    private static func encoded(_ value: Int64) -> [UInt8] {
        var rest = Varint.zigZag(value)
        var bytes: [UInt8] = []
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    private static var partitionerVectors: String {
        let keys = ["", "a", "ab", "abc", "abcd", "N14228", "flight.departed.v1", "schlüssel"]
        let rows = keys.map { key in
            let bytes = Array(key.utf8)
            // With 2^31 partitions the partition is the hash itself, without its sign bit.
            let hash = Partitioner.partition(forKey: bytes, partitions: 1 << 31)
            let parts = [4, 10, 1_000].map {
                String(Partitioner.partition(forKey: bytes, partitions: $0))
            }.joined(separator: " | ")
            let shown = key.isEmpty ? "(empty)" : "`\(key)`"
            let content = bytes.isEmpty ? "–" : "`\(hex(bytes))`"
            return "| \(shown) | \(content) | \(hash) | \(parts) |"
        }
        let head = [
            "| key | its bytes | hash, sign bit cleared | of 4 | of 10 | of 1,000 |",
            "|---|---|---:|---:|---:|---:|",
        ]
        return (head + rows).joined(separator: "\n")
    }
}

extension String {
    fileprivate var trimmed: String { String(self.drop { $0 == "\n" }.reversedDropped) }
}

extension Substring {
    /// Without newlines at the end.
    fileprivate var reversedDropped: Substring {
        var text = self
        while text.last == "\n" { text.removeLast() }
        return text
    }
}
