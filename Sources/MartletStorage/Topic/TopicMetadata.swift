package import MartletFormat

/// What `topic.meta` holds: all that must be known of a topic beside its logs.
package struct TopicMetadata: Equatable, Sendable {
    package var id: TopicID
    package var name: String
    package var partitions: Int32
    /// Only what the topic itself sets; canonical texts by key.
    package var overrides: [String: String] = [:]
    /// Offsets that a partition lost or skipped and will never give again.
    package var gaps: [Int32: [Range<Int64>]] = [:]
    /// Damaged offsets of a partition that readers may pass, by an operator's word.
    package var skipped: [Int32: [Range<Int64>]] = [:]

    package static let nameBytesMax = 249
    package static let reservedPrefix = "$"
    /// Of dead letter topics, which the broker makes and anybody may read.
    package static let reservedSuffix = ".dlq"

    /// The rule for names: 1 to 249 of `A-Z a-z 0-9 . _ -`, not `.` or `..`. Only the broker makes
    /// names that begin with `$` or end with `.dlq`.
    package static func problem(withName name: String, isInternal: Bool) -> String? {
        let bytes = Array(name.utf8)
        guard !bytes.isEmpty else { return "a topic name must not be empty" }
        guard bytes.count <= nameBytesMax else {
            return "a topic name has at most \(nameBytesMax) bytes, this one has \(bytes.count)"
        }
        let body = isInternal && bytes.first == 36 ? Array(bytes.dropFirst()) : bytes
        let allowed = body.allSatisfy { byte in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || byte == 46 || byte == 95 || byte == 45
        }
        guard allowed, !body.isEmpty, name != ".", name != ".." else {
            return "topic name \"\(name)\": only letters, digits, '.', '_' and '-' are allowed"
        }
        if !isInternal, name.hasSuffix(reservedSuffix) {
            return
                "topic name \"\(name)\": the ending \(reservedSuffix) is reserved for dead letters"
        }
        return nil
    }

    package var isInternal: Bool { name.hasPrefix(Self.reservedPrefix) }

    /// The typed settings over the broker's defaults.
    package func settings(over defaults: TopicSettings) throws(StorageError) -> TopicSettings {
        var result = defaults
        for (key, value) in overrides.sorted(by: { $0.key < $1.key }) {
            try result.set(key, to: value)
        }
        // A default is nobody's wish to lose what waits for a group.
        if result.retentionMode == .untilConsumed {
            if overrides["retention.ms"] == nil { result.retentionMilliseconds = -1 }
            if overrides["retention.bytes"] == nil { result.retentionBytes = -1 }
        }
        // Of two dead letters with one key none replaces the other.
        if name.hasSuffix(Self.reservedSuffix), result.cleanup.compacts {
            throw StorageError(
                .invalidSetting, "cleanup.policy: a topic of dead letters is never compacted")
        }
        // What the broker keeps of a record has more to it than the record, and its time was
        // judged before.
        if isInternal || name.hasSuffix(Self.reservedSuffix) {
            result.batchBytesMax = Int64(BatchScanner.batchBytesMax)
            result.eventTimeFutureMaxMilliseconds = .max
            // Two dead letters may come from one message.
            result.deduplicationWindowMilliseconds = 0
        }
        return result
    }
}

/// The text of `topic.meta`: lines `key value`, a version line first, a CRC-32C line last. Text, so
/// that a person can read it when something is wrong.
enum TopicMetadataText {
    private static let version = "martlet-topic 1"

    static func encode(_ metadata: TopicMetadata) -> [UInt8] {
        var lines = [
            version, "id \(metadata.id)", "name \(metadata.name)",
            "partitions \(metadata.partitions)",
        ]
        for (key, value) in metadata.overrides.sorted(by: { $0.key < $1.key }) {
            lines.append("set \(key) \(value)")
        }
        for (word, ranges) in [("gap", metadata.gaps), ("skip", metadata.skipped)] {
            for (partition, ranges) in ranges.sorted(by: { $0.key < $1.key }) {
                for range in ranges {
                    lines.append("\(word) \(partition) \(range.lowerBound) \(range.upperBound)")
                }
            }
        }
        var bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
        let crc = unsafe CRC32C.checksum(bytes.span.bytes)
        bytes += Array(checksumLine(crc).utf8)
        return bytes
    }

    private static func checksumLine(_ crc: UInt32) -> String { "crc \(String(crc, radix: 16))\n" }

    /// - Throws: `corrupt` with the line that is wrong.
    static func decode(_ bytes: [UInt8]) throws(StorageError) -> TopicMetadata {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw StorageError(.corrupt, "not UTF-8")
        }
        guard let crcStart = text.range(ofLast: "crc ") else {
            throw StorageError(.corrupt, "no crc line at the end")
        }
        let body = Array(bytes[..<crcStart])
        // The line as it was written, to its last byte: a file that differs in any is damaged.
        let crc = unsafe CRC32C.checksum(body.span.bytes)
        guard bytes[crcStart...].elementsEqual(checksumLine(crc).utf8) else {
            throw StorageError(.corrupt, "checksum does not match")
        }
        var reader = LineReader(text: String(decoding: body, as: UTF8.self))
        return try reader.read(version: version)
    }

    private struct LineReader {
        let text: String
        private var id: TopicID?
        private var name: String?
        private var partitions: Int32?
        private var overrides: [String: String] = [:]
        private var gaps: [Int32: [Range<Int64>]] = [:]
        private var skipped: [Int32: [Range<Int64>]] = [:]

        init(text: String) { self.text = text }

        mutating func read(version: String) throws(StorageError) -> TopicMetadata {
            let lines = text.split(separator: "\n")
            guard lines.first == version[...] else {
                throw StorageError(
                    .corrupt, "line 1: this broker reads \"\(version)\" only")
            }
            for (index, line) in lines.enumerated().dropFirst() {
                guard take(line) else {
                    throw StorageError(.corrupt, "line \(index + 1): \"\(line)\" is not understood")
                }
            }
            guard let id, let name, let partitions,
                (1...LogLimits.partitionsPerTopicMax).contains(partitions)
            else {
                throw StorageError(.corrupt, "id, name or partitions is missing")
            }
            return TopicMetadata(
                id: id, name: name, partitions: partitions, overrides: overrides, gaps: gaps,
                skipped: skipped)
        }

        private mutating func take(_ line: Substring) -> Bool {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            switch (words.first, words.count) {
            case ("id", 2): id = TopicID(words[1])
            case ("name", 2): name = String(words[1])
            case ("partitions", 2): partitions = Int32(words[1])
            case ("set", 3): overrides[String(words[1])] = String(words[2])
            case ("gap", 4): return take(words, into: &gaps)
            case ("skip", 4): return take(words, into: &skipped)
            default: return false  // a line that no version of ours wrote
            }
            return true
        }

        private func take(
            _ words: [Substring], into ranges: inout [Int32: [Range<Int64>]]
        ) -> Bool {
            guard let partition = Int32(words[1]), let from = Int64(words[2]),
                let to = Int64(words[3]), from >= 0, from < to, to <= LogLimits.offsetMax
            else { return false }
            ranges[partition, default: []].append(from..<to)
            return true
        }
    }
}

extension String {
    /// Byte offset of the last line that begins with `prefix`.
    fileprivate func range(ofLast prefix: String) -> Int? {
        let bytes = Array(utf8)
        let wanted = Array(prefix.utf8)
        guard bytes.count >= wanted.count else { return nil }
        for start in stride(from: bytes.count - wanted.count, through: 0, by: -1)
        where bytes[start..<(start + wanted.count)].elementsEqual(wanted)
            && (start == 0 || bytes[start - 1] == 10)
        { return start }
        return nil
    }
}
