package import MartletFormat

/// Why a frame or a message could not be read or written.
package enum WireError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The bytes end before the field does.
    case truncated(field: String, at: Int, need: Int, have: Int)
    /// The field's value is not one of those that Protocol.md allows.
    case invalid(field: String, at: Int, reason: String)
    /// A length or a count is above its limit. Checked before anything is allocated for it.
    case overLimit(field: String, at: Int, value: Int, max: Int)
    /// The message ended and bytes were left, or the attachment has another length than stated.
    case trailing(at: Int, expected: Int, have: Int)
    /// The length field of a frame is smaller than the rest of its header.
    case frameTooSmall(byteCount: Int)
    /// The length field of a frame is above the connection's limit.
    case frameTooLarge(byteCount: Int, max: Int)

    /// The code that a reply carries for it.
    package var code: ErrorCode {
        switch self {
        case .truncated, .invalid, .overLimit, .trailing, .frameTooSmall: .invalidRequest
        case .frameTooLarge: .frameTooLarge
        }
    }

    /// Whether the place of the next frame is no longer known, so that the connection must close.
    package var breaksFraming: Bool {
        switch self {
        case .frameTooSmall, .frameTooLarge: true
        case .truncated, .invalid, .overLimit, .trailing: false
        }
    }

    package var description: String {
        switch self {
        case .truncated(let field, let at, let need, let have):
            "field \(field) at byte \(at) needs \(need) bytes, \(have) are left"
        case .invalid(let field, let at, let reason):
            "field \(field) at byte \(at): \(reason)"
        case .overLimit(let field, let at, let value, let max):
            "field \(field) at byte \(at) is \(value), at most \(max) are allowed"
        case .trailing(let at, let expected, let have):
            "\(expected) bytes must follow byte \(at), but \(have) do"
        case .frameTooSmall(let byteCount):
            "the frame's length \(byteCount) is below \(FrameHeader.byteCount - 4)"
        case .frameTooLarge(let byteCount, let max):
            "the frame's length \(byteCount) is above the limit \(max)"
        }
    }

    /// The same error with its place counted from `start`.
    func counted(from start: Int) -> WireError {
        switch self {
        case .truncated(let field, let at, let need, let have):
            .truncated(field: field, at: at - start, need: need, have: have)
        case .invalid(let field, let at, let reason):
            .invalid(field: field, at: at - start, reason: reason)
        case .overLimit(let field, let at, let value, let max):
            .overLimit(field: field, at: at - start, value: value, max: max)
        case .trailing(let at, let expected, let have):
            .trailing(at: at - start, expected: expected, have: have)
        case .frameTooSmall, .frameTooLarge: self
        }
    }

    /// Bytes that Format could not read, seen as a field of a message.
    package init(_ error: FormatError) {
        switch error {
        case .truncated(let field, let at, let need, let have):
            self = .truncated(field: field, at: at, need: need, have: have)
        case .invalid(let field, let at, let reason):
            self = .invalid(field: field, at: at, reason: reason)
        case .checksum(let at, let stored, let computed):
            self = .invalid(
                field: "checksum", at: at, reason: "stored \(stored), computed \(computed)")
        }
    }
}
