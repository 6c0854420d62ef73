/// One record: where its parts lie in the span that holds the batch.
package struct RecordFields: Equatable, Sendable {
    /// The record's offset minus the batch's base offset.
    package var offsetDelta: Int32
    /// The record's event time minus the batch's base timestamp.
    package var timestampDelta: Int64
    /// nil: the record has no key, which is not the same as an empty one.
    package var key: Range<Int>?
    /// nil: the record has no value (a tombstone).
    package var value: Range<Int>?
    /// The bytes of all headers, after their count.
    package var headers: Range<Int>
    package var headerCount: Int
}

/// Walks the records of a batch without copying.
///
/// It trusts nothing: every length is held against the record's end, the record's end against the
/// batch's end, and the batch's end against the span. It does not need a checked checksum.
package struct RecordCursor: Sendable {
    /// Where the next record lies.
    package private(set) var position: Int
    private let end: Int
    private var remaining: Int32
    private let codec: Int

    /// - Parameter position: where the first record lies in the spans given to `next(in:)`.
    package init(_ header: RecordBatchHeader, startingAt position: Int = RecordBatchLayout.records)
    {
        precondition(position >= 0, "negative position")
        self.position = position
        end = position + header.byteCount - RecordBatchLayout.records
        remaining = header.recordCount
        codec = header.codec
    }

    /// The next record, or nil after the last one. `batch` must be the same bytes in every call.
    ///
    /// Throws when the records do not fill the batch exactly. After an error the cursor stays where
    /// it was.
    package mutating func next(in batch: RawSpan) throws(FormatError) -> RecordFields? {
        guard codec == 0, remaining > 0, end <= batch.byteCount else {
            try checkEnd(batch)
            return nil
        }
        let (fields, _) = try Self.record(in: batch, at: &position, below: end)
        remaining &-= 1
        return fields
    }

    /// Returns when the records ended where they should; throws why the cursor cannot go on otherwise.
    @inline(never)
    private func checkEnd(_ batch: RawSpan) throws(FormatError) {
        guard codec == 0 else {
            throw .invalid(field: "attributes", at: position, reason: "name codec \(codec)")
        }
        guard end <= batch.byteCount else {
            throw batch.truncation(
                "records", at: position, need: end - position, end: batch.byteCount)
        }
        guard position == end else {
            throw .invalid(
                field: "records",
                at: position,
                reason: "end \(end - position) bytes before their batch"
            )
        }
    }
}

// MARK: - One record

extension RecordCursor {
    /// Reads one record in `[position, end)` and its attribute byte, and moves the position behind it;
    /// leaves it where it is on an error.
    ///
    /// The caller vouches for `0 <= position` and `end <= batch.byteCount`.
    @inline(__always)
    static func record(
        in batch: RawSpan,
        at position: inout Int,
        below end: Int
    ) throws(FormatError) -> (RecordFields, attributes: UInt8) {
        if let read = plainRecord(in: batch, at: &position, below: end) { return read }
        return try anyRecord(in: batch, at: &position, below: end)
    }

    /// The way of nearly all records: no error to build, and bounds asked for once per stretch instead
    /// of once per field. nil means only that `anyRecord` must look; what this accepts, that accepts.
    @inline(__always)
    private static func plainRecord(
        in batch: RawSpan,
        at position: inout Int,
        below end: Int
    ) -> (RecordFields, attributes: UInt8)? {
        var cursor = position
        // Length, attributes, timestamp delta and offset delta take at most 5 + 1 + 8 + 5 bytes here,
        // and each varint is loaded as eight bytes.
        guard end &- cursor >= 27 else { return nil }
        guard let length = batch.plainVarint32(at: &cursor) else { return nil }
        let recordEnd = cursor &+ length
        let attributes = unsafe batch.unsafeLoad(fromUncheckedByteOffset: cursor, as: UInt8.self)
        cursor &+= 1
        guard let timestampDelta = batch.plainVarint64(at: &cursor),
            let offsetDelta = batch.plainVarint32(at: &cursor),
            let keyBytes = batch.plainVarint32(at: &cursor), keyBytes >= -1
        else { return nil }
        let key = cursor
        cursor &+= max(keyBytes, 0)
        guard cursor <= end &- 8, let valueBytes = batch.plainVarint32(at: &cursor),
            valueBytes >= -1
        else { return nil }
        let value = cursor
        cursor &+= max(valueBytes, 0)
        guard cursor < recordEnd, recordEnd <= end else { return nil }
        // The last record's only byte left: no eight bytes to load.
        var headerCount = 0
        if unsafe batch.unsafeLoad(fromUncheckedByteOffset: cursor, as: UInt8.self) == 0 {
            cursor &+= 1
            guard cursor == recordEnd else { return nil }
        } else {
            guard cursor <= end &- 8, let count = batch.plainVarint32(at: &cursor), count > 0,
                count &* RecordBatchLayout.headerFieldBytesMin <= recordEnd &- cursor
            else { return nil }
            headerCount = count
        }
        position = recordEnd
        let fields = unsafe RecordFields(
            offsetDelta: Int32(truncatingIfNeeded: offsetDelta),
            timestampDelta: timestampDelta,
            key: keyBytes < 0 ? nil : Range(uncheckedBounds: (key, key &+ keyBytes)),
            value: valueBytes < 0 ? nil : Range(uncheckedBounds: (value, value &+ valueBytes)),
            headers: Range(uncheckedBounds: (cursor, recordEnd)),
            headerCount: headerCount
        )
        return (fields, attributes)
    }

    /// The careful way: any record, and what is wrong with a bad one.
    @inline(never)
    private static func anyRecord(
        in batch: RawSpan,
        at start: inout Int,
        below end: Int
    ) throws(FormatError) -> (RecordFields, attributes: UInt8) {
        var position = start
        let length = try batch.varint32("record length", at: &position, below: end)
        guard length >= 0, length <= end &- position else {
            throw batch.badLength("record length", length, at: position, end: end)
        }
        let recordEnd = position &+ length
        guard length >= 1 else {
            throw batch.truncation("record attributes", at: position, need: 1, end: recordEnd)
        }
        let attributes = unsafe batch.unsafeLoad(fromUncheckedByteOffset: position, as: UInt8.self)
        position &+= 1
        let timestampDelta = Varint.unZigZag(
            try batch.varint64("timestamp delta", at: &position, below: recordEnd)
        )
        let offsetDelta = try batch.varint32("offset delta", at: &position, below: recordEnd)
        let key = try batch.nullableRun("key length", at: &position, below: recordEnd)
        let value = try batch.nullableRun("value length", at: &position, below: recordEnd)
        let headerCount = try batch.varint32("header count", at: &position, below: recordEnd)
        let headerBytes = recordEnd &- position
        guard headerCount >= 0,
            headerCount &* RecordBatchLayout.headerFieldBytesMin <= headerBytes,
            headerCount > 0 || headerBytes == 0
        else {
            throw batch.badHeaders(headerCount, bytes: headerBytes, at: position)
        }
        let fields = unsafe RecordFields(
            offsetDelta: Int32(truncatingIfNeeded: offsetDelta),
            timestampDelta: timestampDelta,
            key: key,
            value: value,
            headers: Range(uncheckedBounds: (position, recordEnd)),
            headerCount: headerCount
        )
        start = recordEnd
        return (fields, attributes)
    }
}

/// One header of a record: where its parts lie in the span that holds the batch.
package struct HeaderFields: Equatable, Sendable {
    /// UTF-8 in every batch that a broker accepted.
    package var key: Range<Int>
    package var value: Range<Int>?
}

/// Walks the headers of a record without copying, as careful as `RecordCursor`.
package struct HeaderCursor: Sendable {
    /// Where the next record lies.
    package private(set) var position: Int
    private let end: Int
    private var remaining: Int

    package init(_ record: RecordFields) {
        position = record.headers.lowerBound
        end = record.headers.upperBound
        remaining = record.headerCount
    }

    /// The next header, or nil after the last one.
    ///
    /// Throws when the headers do not fill the record exactly. After an error the cursor stays where
    /// it was.
    package mutating func next(in batch: RawSpan) throws(FormatError) -> HeaderFields? {
        guard position >= 0, end <= batch.byteCount else {
            throw batch.truncation(
                "headers", at: position, need: end - position, end: batch.byteCount)
        }
        guard remaining > 0 else {
            guard position == end else {
                throw .invalid(
                    field: "headers",
                    at: position,
                    reason: "end \(end - position) bytes before their record"
                )
            }
            return nil
        }
        var start = position
        guard let key = try batch.nullableRun("header key length", at: &start, below: end) else {
            throw .invalid(field: "header key length", at: position, reason: "is negative")
        }
        let value = try batch.nullableRun("header value length", at: &start, below: end)
        position = start
        remaining -= 1
        return HeaderFields(key: key, value: value)
    }
}

extension RawSpan {
    /// A length (-1: null) and as many bytes, in `[position, end)`; the promise of `varint64` holds.
    @inline(__always)
    fileprivate func nullableRun(
        _ field: String,
        at position: inout Int,
        below end: Int
    ) throws(FormatError) -> Range<Int>? {
        let length = try varint32(field, at: &position, below: end)
        guard length >= 0 else {
            guard length == -1 else { throw badLength(field, length, at: position, end: end) }
            return nil
        }
        guard length <= end &- position else {
            throw badLength(field, length, at: position, end: end)
        }
        let start = position
        position &+= length
        return unsafe Range(uncheckedBounds: (start, position))
    }

    @inline(never)
    fileprivate func badLength(
        _ field: String, _ length: Int, at position: Int, end: Int
    )
        -> FormatError
    {
        if length < 0 {
            return .invalid(field: field, at: position, reason: "is negative: \(length)")
        }
        return truncation(field, at: position, need: length, end: end)
    }

    @inline(never)
    fileprivate func badHeaders(_ count: Int, bytes: Int, at position: Int) -> FormatError {
        if count <= 0 {
            let reason = count < 0 ? "is negative: \(count)" : "is 0 but \(bytes) bytes follow"
            return .invalid(field: "header count", at: position, reason: reason)
        }
        return .truncated(
            field: "headers",
            at: position,
            need: count * RecordBatchLayout.headerFieldBytesMin,
            have: bytes
        )
    }
}
