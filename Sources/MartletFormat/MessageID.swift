/// The header by which a record says which message it is, so that a topic that removes duplicates
/// knows the second copy, whoever sends it.
package enum MessageID {
    /// The header's name. The first header of the name counts; null or empty: the record has no id.
    package static let header: StaticString = "message-id"
    /// The longest id that such a topic takes.
    package static let bytesMax = 128

    /// Where the id of a record lies in its batch; nil: it has none.
    package static func find(
        in batch: RawSpan, _ record: RecordFields
    ) throws(FormatError) -> Range<Int>? {
        guard record.headerCount > 0 else { return nil }
        var cursor = HeaderCursor(record)
        while let header = try cursor.next(in: batch) {
            guard isName(batch.extracting(header.key)) else { continue }
            guard let value = header.value, !value.isEmpty else { return nil }
            return value
        }
        return nil
    }

    private static func isName(_ key: RawSpan) -> Bool {
        guard key.byteCount == header.utf8CodeUnitCount else { return false }
        for index in 0..<key.byteCount {
            let byte = unsafe key.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            let wanted = unsafe header.utf8Start[index]
            if byte != wanted { return false }
        }
        return true
    }
}
