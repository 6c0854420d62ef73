import MartletJSON

/// Bytes of records in JSON: text where they are UTF-8, else Base64 under another name, so that
/// nothing is lost and what was printed can be produced again.
enum RecordJSON {
    /// Adds `name`, or `nameBase64` when the bytes are no text; null when there are none.
    static func add(_ name: String, _ bytes: [UInt8]?, to object: inout JSONObject) {
        guard let bytes else {
            object[name] = .null
            return
        }
        if let text = String(validating: bytes, as: UTF8.self) {
            object[name] = .string(text)
        } else {
            object[name + "Base64"] = .string(Base64.text(bytes))
        }
    }
}

/// RFC 4648 with padding.
enum Base64 {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func text(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let left = bytes.count - index
            var group = UInt32(bytes[index]) << 16
            if left > 1 { group |= UInt32(bytes[index + 1]) << 8 }
            if left > 2 { group |= UInt32(bytes[index + 2]) }
            output.append(alphabet[Int(group >> 18)])
            output.append(alphabet[Int(group >> 12 & 63)])
            output.append(left > 1 ? alphabet[Int(group >> 6 & 63)] : UInt8(ascii: "="))
            output.append(left > 2 ? alphabet[Int(group & 63)] : UInt8(ascii: "="))
            index += 3
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for anything that `text` would not write.
    static func bytes(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 4 == 0 else { return nil }
        var output: [UInt8] = []
        for start in stride(from: 0, to: digits.count, by: 4) {
            let isLast = start + 4 == digits.count
            let padding = digits[start..<(start + 4)].reversed().prefix { $0 == 0x3D }.count
            guard padding == 0 || (isLast && padding <= 2) else { return nil }
            var group: UInt32 = 0
            for digit in digits[start..<(start + 4 - padding)] {
                guard let value = alphabet.firstIndex(of: digit) else { return nil }
                group = group << 6 | UInt32(value)
            }
            group <<= UInt32(6 * padding)
            let triple = [UInt8(group >> 16 & 255), UInt8(group >> 8 & 255), UInt8(group & 255)]
            output += triple[..<(3 - padding)]
        }
        return self.text(output) == text ? output : nil
    }
}
