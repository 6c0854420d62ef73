import MartletClient

/// What errors of one cause have in common: the kind and the words, without numbers, hexadecimal
/// digits and UUIDs. The same for ever, as long as the application says it the same way.
enum ErrorFingerprint {
    /// `Timeout: no answer from <n>:<n> for order <uuid>`.
    static func text(_ failure: HandlerFailure) -> String {
        let words = failure.text.isEmpty ? "" : ": " + text(failure.text)
        return clip(failure.kind + words)
    }

    /// Longer ones differ by their beginnings.
    private static let charactersMax = 200

    private static func clip(_ text: String) -> String {
        text.count > charactersMax ? String(text.prefix(charactersMax)) + "…" : text
    }

    static func text(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var output: [UInt8] = []
        var rest = bytes[...]
        while let byte = rest.first {
            if let end = endOfUUID(rest) {
                output += "<uuid>".utf8
                rest = rest[end...]
            } else if isWord(byte) {
                let word = rest.prefix(while: isWord)
                rest = rest[word.endIndex...]
                if isHex(word) {
                    output += "<hex>".utf8
                } else {
                    append(word, to: &output, &rest)
                }
            } else {
                output.append(byte)
                rest = rest.dropFirst()
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// A word with each number in it as `<n>`; with the point or comma, and what follows it, of one
    /// that ends the word.
    private static func append(
        _ word: ArraySlice<UInt8>, to output: inout [UInt8], _ rest: inout ArraySlice<UInt8>
    ) {
        var isInNumber = false
        for byte in word {
            if isDigit(byte) {
                if !isInNumber { output += "<n>".utf8 }
            } else {
                output.append(byte)
            }
            isInNumber = isDigit(byte)
        }
        while isInNumber, let point = rest.first,
            point == UInt8(ascii: ".") || point == UInt8(ascii: ",")
        {
            let digits = rest.dropFirst().prefix(while: isDigit)
            if digits.isEmpty { return }
            rest = rest[digits.endIndex...]
        }
    }

    /// `0x` and digits, or eight digits and more that are not all decimal.
    private static func isHex(_ word: ArraySlice<UInt8>) -> Bool {
        if word.count > 2, word.starts(with: "0x".utf8) {
            return word.dropFirst(2).allSatisfy(isHex)
        }
        return word.count >= 8 && word.allSatisfy(isHex) && word.contains(where: isDigit)
            && !word.allSatisfy(isDigit)
    }

    /// 8, 4, 4, 4 and 12 digits with dashes, and no digit or letter behind them.
    private static func endOfUUID(_ bytes: ArraySlice<UInt8>) -> Int? {
        var rest = bytes
        for (place, length) in [8, 4, 4, 4, 12].enumerated() {
            if place > 0 {
                guard rest.first == UInt8(ascii: "-") else { return nil }
                rest = rest.dropFirst()
            }
            let digits = rest.prefix(length)
            guard digits.count == length, digits.allSatisfy(isHex) else { return nil }
            rest = rest.dropFirst(length)
        }
        return rest.first.map(isWord) == true ? nil : rest.startIndex
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        isDigit(byte) || UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte | 0x20
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        isDigit(byte) || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
    }
}
