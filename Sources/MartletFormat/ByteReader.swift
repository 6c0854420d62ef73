/// Big-endian integers at a moving position. Every read is checked against the span's end and throws
/// `FormatError.truncated` without moving the position; `field` names the culprit in the error.
extension RawSpan {
    package func readUInt8(_ field: String, at position: inout Int) throws(FormatError) -> UInt8 {
        try readBigEndian(field, at: &position)
    }

    package func readInt8(_ field: String, at position: inout Int) throws(FormatError) -> Int8 {
        try readBigEndian(field, at: &position)
    }

    package func readUInt16(_ field: String, at position: inout Int) throws(FormatError) -> UInt16 {
        try readBigEndian(field, at: &position)
    }

    package func readInt16(_ field: String, at position: inout Int) throws(FormatError) -> Int16 {
        try readBigEndian(field, at: &position)
    }

    package func readUInt32(_ field: String, at position: inout Int) throws(FormatError) -> UInt32 {
        try readBigEndian(field, at: &position)
    }

    package func readInt32(_ field: String, at position: inout Int) throws(FormatError) -> Int32 {
        try readBigEndian(field, at: &position)
    }

    package func readUInt64(_ field: String, at position: inout Int) throws(FormatError) -> UInt64 {
        try readBigEndian(field, at: &position)
    }

    package func readInt64(_ field: String, at position: inout Int) throws(FormatError) -> Int64 {
        try readBigEndian(field, at: &position)
    }

    @inline(__always)
    private func readBigEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        _ field: String,
        at position: inout Int
    ) throws(FormatError) -> Value {
        let size = MemoryLayout<Value>.size
        // A negative position would make the subtraction overflow: ask for the sign first.
        guard position >= 0, byteCount - position >= size else {
            throw truncation(field, at: position, need: size, end: byteCount)
        }
        // In bounds by the guard.
        let value = unsafe unsafeLoadUnaligned(
            fromUncheckedByteOffset: position,
            as: Value.self
        )
        position &+= size
        return Value(bigEndian: value)
    }

    /// Builds the error out of line, so that the checks around it stay small.
    @inline(never)
    func truncation(_ field: String, at position: Int, need: Int, end: Int) -> FormatError {
        let have = position >= 0 && position <= end ? end - position : 0
        return .truncated(field: field, at: position, need: need, have: have)
    }
}
