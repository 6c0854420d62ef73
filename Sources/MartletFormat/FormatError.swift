/// Why bytes could not be read as what they claim to be.
///
/// Positions (`at`) count from the start of the span that was read.
package enum FormatError: Error, Equatable, Sendable {
    /// The bytes end before the field does.
    case truncated(field: String, at: Int, need: Int, have: Int)
    /// The field is there, but no writer may write this value.
    case invalid(field: String, at: Int, reason: String)
    /// The stored CRC-32C and the bytes it covers disagree.
    case checksum(at: Int, stored: UInt32, computed: UInt32)
}

extension FormatError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated(let field, let position, let need, let have):
            "\(field) at byte \(position) needs \(need) bytes, \(have) are left"
        case .invalid(let field, let position, let reason):
            "\(field) at byte \(position) \(reason)"
        case .checksum(let position, let stored, let computed):
            "checksum at byte \(position) is \(Self.hex(stored)), the bytes give \(Self.hex(computed))"
        }
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
