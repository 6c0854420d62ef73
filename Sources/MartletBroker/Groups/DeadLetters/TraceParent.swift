/// The header by which a record belongs to a trace (W3C Trace Context).
enum TraceParent {
    static let header = "traceparent"

    /// The id of a record's trace, 32 hexadecimal digits; nil without one header that says it rightly.
    static func traceID(of headers: [(key: String, value: [UInt8]?)]) -> String? {
        let found = headers.filter { $0.key == header }
        guard found.count == 1, let value = found.first?.value else { return nil }
        return traceID(in: value)
    }

    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`: version, trace, parent, flags. Later
    /// versions may have more behind another dash.
    static func traceID(in value: [UInt8]) -> String? {
        let parts = value.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.count >= 4, zip(parts, [2, 32, 16, 2]).allSatisfy({ $0.count == $1 }),
            parts.prefix(4).joined().allSatisfy(isDigit), !isAll("f", parts[0]),
            !isAll("0", parts[0]) || parts.count == 4, !isAll("0", parts[1]),
            !isAll("0", parts[2])
        else { return nil }
        return String(decoding: parts[1], as: UTF8.self)
    }

    /// Only small letters: what is written otherwise is not the same trace to anyone.
    private static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
        case _: false
        }
    }

    private static func isAll(_ digit: Unicode.Scalar, _ part: ArraySlice<UInt8>) -> Bool {
        part.allSatisfy { $0 == UInt8(ascii: digit) }
    }
}
