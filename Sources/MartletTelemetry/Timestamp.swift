/// Wall time as text.
package enum Timestamp {
    /// `2026-01-22T12:00:00.123Z` for milliseconds since 1970, also before it.
    package static func text(wallMilliseconds: Int64) -> String {
        let (days, inDay) = floorDivide(wallMilliseconds, 86_400_000)
        let (year, month, day) = civil(days: days)
        let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        let hours = padded(inDay / 3_600_000, 2)
        let minutes = padded(inDay / 60_000 % 60, 2)
        let seconds = padded(inDay / 1_000 % 60, 2)
        return "\(date)T\(hours):\(minutes):\(seconds).\(padded(inDay % 1_000, 3))Z"
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    /// The proleptic Gregorian date. Years are counted from March, so that the leap day comes last;
    /// an era is 400 years, 146,097 days. No overflow: there are at most 2^63 / 86,400,000 days.
    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, inEra) = floorDivide(days + 719_468, 146_097)
        let yearOfEra = (inEra - inEra / 1_460 + inEra / 36_524 - inEra / 146_096) / 365
        let inYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let fromMarch = (5 * inYear + 2) / 153
        let day = inYear - (153 * fromMarch + 2) / 5 + 1
        let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let digits = String(value.magnitude)
        let zeros = String(repeating: "0", count: max(0, width - digits.utf8.count))
        return (value < 0 ? "-" : "") + zeros + digits
    }
}
