/// Why a value is not what its key or flag takes. The text says what to write instead.
package struct UnitError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Numbers with units as people write them, and back. Whole numbers only, so that a value means
/// exactly what stands there; every sum is checked.
package enum Units {
    /// `-1` and `forever` mean without end wherever a key allows it.
    package static let forever: Int64 = -1

    private static let byteUnits: [(String, Int64)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
    ]
    private static let timeUnits: [(String, Int64)] = [
        ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    package static func boolean(_ text: some StringProtocol) throws(UnitError) -> Bool {
        switch text {
        case "true": return true
        case "false": return false
        case _: throw UnitError("\(Quoted(text)) is not a boolean: write true or false")
        }
    }

    package static func integer(_ text: some StringProtocol) throws(UnitError) -> Int64 {
        let (number, unit) = try split(text, "a whole number")
        guard unit.isEmpty else { throw UnitError("\(Quoted(text)) is not a whole number") }
        return number
    }

    /// `64MiB`, `64 MiB`, `67108864`.
    package static func bytes(_ text: some StringProtocol) throws(UnitError) -> Int64 {
        let (number, unit) = try split(text, "a number of bytes such as 64MiB")
        return try scaled(text, number, unit.isEmpty ? "B" : unit, byteUnits)
    }

    /// `30s`, `250ms`, `7d`; a unit must be there, except for 0.
    package static func milliseconds(_ text: some StringProtocol) throws(UnitError) -> Int64 {
        let (number, unit) = try split(text, "a time such as 30s")
        guard !unit.isEmpty || number == 0 else {
            throw UnitError("\(Quoted(text)) has no unit: write ms, s, m, h or d after the number")
        }
        return try scaled(text, number, unit.isEmpty ? "s" : unit, timeUnits)
    }

    /// `200/s`, or the number alone.
    package static func perSecond(_ text: some StringProtocol) throws(UnitError) -> Int64 {
        let (number, unit) = try split(text, "a rate such as 200/s")
        guard unit.isEmpty || unit == "/s" else {
            throw UnitError("\(Quoted(text)) is not a rate: write it as 200/s")
        }
        return number
    }

    /// The largest unit that leaves a whole number: `1GiB`, `1536MiB`, `1000B`.
    package static func format(bytes: Int64) -> String { format(bytes, byteUnits, zero: "0") }

    package static func format(milliseconds: Int64) -> String {
        format(milliseconds, timeUnits, zero: "0s")
    }

    package static func format(perSecond: Int64) -> String { "\(perSecond)/s" }

    private static func format(
        _ value: Int64,
        _ units: [(String, Int64)],
        zero: String
    ) -> String {
        guard value != 0 else { return zero }
        for (name, factor) in units.reversed() where value % factor == 0 {
            return "\(value / factor)\(name)"
        }
        return "\(value)"
    }

    /// The number at the front and what follows it, without the space between.
    private static func split(
        _ text: some StringProtocol,
        _ wanted: String
    ) throws(UnitError) -> (Int64, String) {
        let isNegative = text.utf8.first == UInt8(ascii: "-")
        let unsigned = isNegative ? text.dropFirst() : text[...]
        let digits = unsigned.prefix { $0.isASCII && $0.isWholeNumber }
        guard !digits.isEmpty else { throw UnitError("\(Quoted(text)) is not \(wanted)") }
        guard let number = Int64((isNegative ? "-" : "") + digits) else {
            throw UnitError("\(Quoted(text)) is too large")
        }
        return (number, String(unsigned.dropFirst(digits.count).drop { $0 == " " }))
    }

    private static func scaled(
        _ text: some StringProtocol,
        _ number: Int64,
        _ unit: String,
        _ units: [(String, Int64)]
    ) throws(UnitError) -> Int64 {
        guard let (_, factor) = units.first(where: { $0.0 == unit }) else {
            let names = units.map(\.0).joined(separator: ", ")
            throw UnitError("\(Quoted(text)) has an unknown unit: use one of \(names)")
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { throw UnitError("\(Quoted(text)) is too large") }
        return value
    }
}

/// Foreign text in a message: in quotes, on one line, not longer than a line, and unable to move a
/// terminal's cursor.
struct Quoted: CustomStringConvertible {
    /// Without the quotes.
    let bare: String

    var description: String { "'\(bare)'" }

    init(_ text: some StringProtocol) {
        var shown = ""
        for scalar in text.unicodeScalars.prefix(Self.lengthMax) {
            let isControl = scalar.properties.generalCategory == .control
            let isFormat = scalar.properties.generalCategory == .format
            let isSeparator = scalar.value == 0x2028 || scalar.value == 0x2029
            if isControl || isFormat || isSeparator {
                shown += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                shown.unicodeScalars.append(scalar)
            }
        }
        let isCut = text.unicodeScalars.count > Self.lengthMax
        bare = shown + (isCut ? "..." : "")
    }

    private static let lengthMax = 120
}
