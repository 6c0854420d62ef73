import MartletJSON

/// Values as people read them.
enum Shown {
    /// Foreign text on one line that cannot move a terminal's cursor.
    static func text(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: JSONWriter.isUnsafeToShow) else { return text }
        var shown = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": shown += "\\n"
            case "\r": shown += "\\r"
            case "\t": shown += "\\t"
            case _ where JSONWriter.isUnsafeToShow(scalar):
                shown += "\\u{\(String(scalar.value, radix: 16))}"
            case _: shown.unicodeScalars.append(scalar)
            }
        }
        return shown
    }

    /// Bytes as text when they are UTF-8, else in hexadecimal digits.
    static func bytes(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return self.text(text) }
        return "0x" + bytes.map(hex).joined()
    }

    static func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.utf8.count == 1 ? "0" + digits : digits
    }

    /// `0x` and eight digits.
    static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }

    /// The columns that a text takes. Wide characters count as two; close enough for a table.
    static func width(_ text: String) -> Int {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
        return text.reduce(0) { total, character in
            let first = character.unicodeScalars.first?.value ?? 0
            let isWide =
                (0x1100...0x115F).contains(first) || (0x2E80...0xA4CF).contains(first)
                || (0xAC00...0xD7A3).contains(first) || (0xF900...0xFAFF).contains(first)
                || (0xFE30...0xFE6F).contains(first) || (0xFF00...0xFF60).contains(first)
                || (0x1F300...0x1FAFF).contains(first)
            return total + (isWide ? 2 : 1)
        }
    }

    /// The text cut to so many columns, with an ellipsis when something is missing.
    static func cut(_ text: String, to columns: Int) -> String {
        guard width(text) > columns else { return text }
        var result = ""
        var used = 0
        for character in text {
            let wide = width(String(character))
            if used + wide > columns - 1 { break }
            result.append(character)
            used += wide
        }
        return result + "…"
    }

    /// `1.5 MiB`.
    static func bytes(_ count: Int64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = Double(count)
        var unit = 0
        while abs(value) >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return unit == 0 ? "\(count) B" : "\(decimal(value, 1)) \(units[unit])"
    }

    /// `1,234,567`.
    static func count(_ value: some BinaryInteger) -> String {
        let digits = Array(String(value.magnitude))
        var text = value < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// A fixed number of digits after the point, without Foundation.
    static func decimal(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return value.description }
        var scale: Int64 = 1
        for _ in 0..<max(0, digits) { scale *= 10 }
        let scaled = Int64((abs(value) * Double(scale)).rounded())
        let sign = value < 0 && scaled != 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(scaled)" }
        let fraction = String(scaled % scale)
        let zeros = String(repeating: "0", count: digits - fraction.utf8.count)
        return "\(sign)\(scaled / scale).\(zeros)\(fraction)"
    }

    /// `3d 4h`, `12m 5s`, `1.250s`: the two largest units.
    static func duration(milliseconds: Int64) -> String {
        let total = max(0, milliseconds)
        let (days, hours) = (total / 86_400_000, total / 3_600_000 % 24)
        let (minutes, seconds) = (total / 60_000 % 60, total / 1000 % 60)
        if days > 0 { return "\(days)d \(hours)h" }
        if hours > 0 { return "\(hours)h \(minutes)m" }
        if minutes > 0 { return "\(minutes)m \(seconds)s" }
        return "\(decimal(Double(total) / 1000, 3))s"
    }

    /// `1 record`, `2 records`.
    static func plural(_ value: some BinaryInteger, _ noun: String) -> String {
        "\(count(value)) \(noun)\(value == 1 ? "" : "s")"
    }

    /// `1 record was`, `2 records were`: with the verb that belongs to it.
    static func plural(
        _ value: some BinaryInteger, _ noun: String, _ one: String, _ many: String
    ) -> String {
        "\(plural(value, noun)) \(value == 1 ? one : many)"
    }
}
