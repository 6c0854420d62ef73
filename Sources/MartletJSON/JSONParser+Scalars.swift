/// Strings and numbers.
extension JSONParser {
    /// At the opening quote; ends after the closing one.
    mutating func parseString() throws(JSONError) -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        var run = position
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "\""):
                content += bytes[run..<position]
                position += 1
                return try text(content, startingAt: start)
            case UInt8(ascii: "\\"):
                content += bytes[run..<position]
                try parseEscape(into: &content)
                run = position
            case 0..<0x20:
                throw failure(.controlCharacter(byte), at: position)
            case _:
                position += 1
            }
        }
        throw failure(.unexpectedEnd, at: position)
    }

    /// Escapes only ever add valid UTF-8, so that bad bytes stand as they are in the source.
    private func text(_ content: [UInt8], startingAt start: Int) throws(JSONError) -> String {
        guard let text = String(validating: content, as: UTF8.self) else {
            throw failure(.invalidUTF8, at: firstInvalidByte(from: start))
        }
        return text
    }

    private func firstInvalidByte(from start: Int) -> Int {
        var decoder = Unicode.UTF8.ForwardParser()
        var iterator = bytes[start..<position].makeIterator()
        var offset = start
        while true {
            switch decoder.parseScalar(from: &iterator) {
            case .valid(let scalar): offset += scalar.count
            case .error, .emptyInput: return offset
            }
        }
    }

    private mutating func parseEscape(into content: inout [UInt8]) throws(JSONError) {
        let start = position
        position += 1
        guard let byte = peek else { throw failure(.unexpectedEnd, at: position) }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0C)
        case UInt8(ascii: "n"): content.append(0x0A)
        case UInt8(ascii: "r"): content.append(0x0D)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try parseUnicodeEscape(startingAt: start)
            content += String(Character(scalar)).utf8
        case _: throw failure(.invalidEscape, at: start)
        }
    }

    /// After `\u`; reads the second half of a surrogate pair as well.
    private mutating func parseUnicodeEscape(
        startingAt start: Int
    ) throws(JSONError) -> Unicode.Scalar {
        let first = try parseFourDigits(startingAt: start)
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw failure(.loneSurrogate, at: start)
        }
        let second = try parseFourDigits(startingAt: position - 2)
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw failure(.loneSurrogate, at: start) }
        return scalar
    }

    private mutating func parseFourDigits(startingAt start: Int) throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek else { throw failure(.unexpectedEnd, at: position) }
            guard let digit = Self.hexDigit(byte) else { throw failure(.invalidEscape, at: start) }
            value = value << 4 | digit
            position += 1
        }
        return value
    }

    private static func hexDigit(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
        case _: nil
        }
    }

    mutating func parseNumber() throws(JSONError) -> JSONValue {
        let start = position
        _ = take(UInt8(ascii: "-"))
        let firstDigit = position
        try skipDigits("a digit is missing")
        if bytes[firstDigit] == UInt8(ascii: "0"), position > firstDigit + 1 {
            throw failure(.invalidNumber("it begins with 0"), at: start)
        }
        var isInteger = true
        if take(UInt8(ascii: ".")) {
            isInteger = false
            try skipDigits("a digit must follow the point")
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isInteger = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try skipDigits("a digit is missing in the exponent")
        }
        return try number(start..<position, isInteger: isInteger)
    }

    private mutating func skipDigits(_ complaint: String) throws(JSONError) {
        let start = position
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            position += 1
        }
        guard position > start else {
            throw failure(peek == nil ? .unexpectedEnd : .invalidNumber(complaint), at: position)
        }
    }

    /// The range holds ASCII that already follows the grammar. `-0` stays a double: an integer
    /// would lose its sign.
    private func number(_ range: Range<Int>, isInteger: Bool) throws(JSONError) -> JSONValue {
        let digits = String(decoding: bytes[range], as: UTF8.self)
        if isInteger, digits != "-0" {
            if let value = Int64(digits) { return .integer(value) }
            if let value = UInt64(digits) { return .unsigned(value) }
        }
        guard let value = Double(digits), value.isFinite else {
            throw failure(.numberOutOfRange, at: range.lowerBound)
        }
        return .double(value)
    }
}
