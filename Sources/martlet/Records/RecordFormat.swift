import MartletClient

/// `--format '%t %p %o %k %v %h{name}\n'`.
struct RecordFormat: Sendable {
    enum Piece: Equatable, Sendable {
        case text([UInt8])
        case topic, partition, offset, timestamp, time, key, value, keyLength, valueLength, headers
        case header(String)
    }

    /// For the help: what stands for what.
    static let meaning =
        "%t topic, %p partition, %o offset, %T event time, %m event time in milliseconds, %k key, "
        + "%v value, %h all headers, %h{NAME} one of them, %K and %V lengths in bytes (-1: null), "
        + "%% a percent sign, \\n, \\t, \\0, \\xHH bytes. A new line comes only where one is written."

    let pieces: [Piece]

    /// Nil pieces never come out: what is wrong is thrown as a text.
    init(parsing text: String) throws(FormatStringError) {
        var pieces: [Piece] = []
        var literal = ""
        var rest = text[...]
        func close() throws(FormatStringError) {
            guard !literal.isEmpty else { return }
            guard let bytes = Escapes.bytes(literal) else {
                throw FormatStringError("'\(literal)' has an unknown escape")
            }
            pieces.append(.text(bytes))
            literal = ""
        }
        while let character = rest.popFirst() {
            guard character == "%" else {
                literal.append(character)
                continue
            }
            guard let letter = rest.popFirst() else {
                throw FormatStringError("it ends with a lone %; write %% for the sign")
            }
            if letter == "%" {
                literal.append("%")
                continue
            }
            try close()
            pieces.append(try Self.piece(letter, &rest))
        }
        try close()
        self.pieces = pieces
    }

    private static func piece(
        _ letter: Character, _ rest: inout Substring
    ) throws(FormatStringError) -> Piece {
        switch letter {
        case "t": return .topic
        case "p": return .partition
        case "o": return .offset
        case "T": return .time
        case "m": return .timestamp
        case "k": return .key
        case "v", "s": return .value
        case "K": return .keyLength
        case "V", "S": return .valueLength
        case "h":
            guard rest.first == "{" else { return .headers }
            guard let end = rest.firstIndex(of: "}") else {
                throw FormatStringError("%h{ has no closing }")
            }
            let name = String(rest[rest.index(after: rest.startIndex)..<end])
            rest = rest[rest.index(after: end)...]
            return .header(name)
        case _: throw FormatStringError("%\(letter) is unknown; 'martlet tail --help' lists them")
        }
    }

    func append(_ record: RecordView, to buffer: inout [UInt8]) {
        for piece in pieces {
            switch piece {
            case .text(let bytes): buffer += bytes
            case .topic: buffer += record.topic.utf8
            case .partition: buffer += String(record.partition).utf8
            case .offset: buffer += String(record.offset).utf8
            case .timestamp: buffer += String(record.timestamp).utf8
            case .time: buffer += TimeText.text(record.timestamp).utf8
            case .key: buffer += record.key ?? []
            case .value: buffer += record.value ?? []
            case .keyLength: buffer += String(record.key?.count ?? -1).utf8
            case .valueLength: buffer += String(record.value?.count ?? -1).utf8
            case .headers:
                for (index, header) in record.headers.enumerated() {
                    if index > 0 { buffer.append(UInt8(ascii: ",")) }
                    buffer += header.key.utf8
                    buffer.append(UInt8(ascii: "="))
                    buffer += header.value ?? []
                }
            case .header(let name):
                buffer += record.headers.first { $0.key == name }?.value ?? []
            }
        }
    }
}

/// What is wrong with a format string.
struct FormatStringError: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A record as the printers see it.
struct RecordView: Sendable {
    let topic: String
    let partition: Int32
    let offset: Int64
    let timestamp: Int64
    let key: [UInt8]?
    let value: [UInt8]?
    let headers: [RecordHeader]
}

extension RecordView {
    init(_ record: ConsumedRecord) {
        self.init(
            topic: record.topic, partition: record.partition, offset: record.offset,
            timestamp: record.timestamp, key: record.keyBytes, value: record.valueBytes,
            headers: record.headers)
    }
}
