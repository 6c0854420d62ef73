/// Times as ISO 8601 text, without Foundation. Milliseconds since 1970 in and out.
enum TimeText {
    /// `2026-01-22T12:00:00.123Z`.
    static func text(_ milliseconds: Int64) -> String {
        let days = floorDivide(milliseconds, 86_400_000)
        // The remainder, brought above zero: the product for the earliest time there is overflows.
        let rest = milliseconds % 86_400_000
        let inDay = rest < 0 ? rest + 86_400_000 : rest
        let (year, month, day) = civil(days: days)
        let time = [inDay / 3_600_000, inDay / 60_000 % 60, inDay / 1000 % 60].map { pad($0, 2) }
        return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T"
            + "\(time.joined(separator: ":")).\(pad(inDay % 1000, 3))Z"
    }

    /// What may stand after `@`: milliseconds since 1970, ISO 8601 (UTC unless it says otherwise),
    /// or a span before now such as `-15m`. Nil for anything else.
    static func parse(_ text: some StringProtocol, now: Int64) -> Int64? {
        if text.first == "-", let span = span(text.dropFirst()) { return now - span }
        if let milliseconds = Int64(text), milliseconds >= 0 { return milliseconds }
        if text == "now" { return now }
        return iso(String(text))
    }

    private static func span(_ text: some StringProtocol) -> Int64? {
        let units: [(String, Int64)] = [
            ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
        ]
        for (name, factor) in units where text.hasSuffix(name) {
            guard let number = Int64(text.dropLast(name.count)), number >= 0 else { continue }
            let (value, overflow) = number.multipliedReportingOverflow(by: factor)
            if !overflow, value < 1 << 53 { return value }
        }
        return nil
    }

    /// `2026-01-22`, `2026-01-22T12:00Z`, `2026-01-22 12:00:05.25+02:00`.
    private static func iso(_ text: String) -> Int64? {
        let parts = text.split(
            maxSplits: 1, omittingEmptySubsequences: false, whereSeparator: { "Tt ".contains($0) })
        guard let first = parts.first, let day = date(days: first) else { return nil }
        guard parts.count == 2 else { return day * 86_400_000 }
        guard let (clock, offset) = zone(parts[1]), let inDay = time(clock) else { return nil }
        return day * 86_400_000 + inDay - offset
    }

    private static func date(days text: Substring) -> Int64? {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let year = number(parts[0], 4), let month = number(parts[1], 2),
            let day = number(parts[2], 2), (1...12).contains(month), day >= 1,
            day <= daysIn(month, year)
        else { return nil }
        return days(year, month, day)
    }

    /// Splits `12:00Z`, `12:00+02:00` into the clock and the offset in milliseconds.
    private static func zone(_ text: Substring) -> (Substring, Int64)? {
        if text.hasSuffix("Z") || text.hasSuffix("z") { return (text.dropLast(), 0) }
        guard let sign = text.lastIndex(where: { $0 == "+" || $0 == "-" }) else { return (text, 0) }
        let digits = text[text.index(after: sign)...].filter { $0 != ":" }
        guard digits.utf8.count == 4, let hours = number(digits.prefix(2), 2),
            let minutes = number(digits.suffix(2), 2), hours < 24, minutes < 60
        else { return nil }
        let offset = (hours * 60 + minutes) * 60_000
        return (text[..<sign], text[sign] == "-" ? -offset : offset)
    }

    private static func time(_ text: Substring) -> Int64? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let hours = number(parts[0], 2), hours < 24,
            let minutes = number(parts[1], 2), minutes < 60
        else { return nil }
        var total = (hours * 60 + minutes) * 60_000
        if parts.count == 3 {
            let pieces = parts[2].split(
                separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
            guard let seconds = number(pieces[0], 2), seconds < 60 else { return nil }
            total += seconds * 1000
            if pieces.count == 2 {
                guard !pieces[1].isEmpty, pieces[1].utf8.allSatisfy({ (48...57).contains($0) })
                else { return nil }
                let digits = String(pieces[1].prefix(3))
                let zeros = String(repeating: "0", count: 3 - digits.utf8.count)
                guard let fraction = Int64(digits + zeros) else { return nil }
                total += fraction
            }
        }
        return total
    }

    private static func number(_ text: some StringProtocol, _ digits: Int) -> Int64? {
        guard text.utf8.count == digits, text.utf8.allSatisfy({ (48...57).contains($0) }) else {
            return nil
        }
        return Int64(text)
    }

    private static func daysIn(_ month: Int64, _ year: Int64) -> Int64 {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        switch month {
        case 2: return isLeap ? 29 : 28
        case 4, 6, 9, 11: return 30
        case _: return 31
        }
    }

    /// Days since 1970. Years are counted from March, so that the leap day comes last.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = floorDivide(shifted, 400)
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    private static func civil(days: Int64) -> (Int64, Int64, Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let inEra = shifted - era * 146_097
        let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
        let inYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * inYear + 2) / 153
        let day = inYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        return (yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0), civilMonth, day)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let digits = String(value.magnitude)
        let zeros = String(repeating: "0", count: max(0, width - digits.utf8.count))
        return (value < 0 ? "-" : "") + zeros + digits
    }
}
