import MartletFormat

/// The record batches of Protocol.md's examples.
enum ExampleBatches {
    static let producerID: Int64 = 12
    static let departure: Int64 = 1_357_020_900_000
    static let leaderEpoch: Int32 = 1

    /// As the producer sends it: two records, one with a header, one a tombstone.
    static let first = make(sequence: 0) { builder in
        add(
            to: builder, key: "N14228", value: "{\"delay\":2}", type: "flight.departed.v1",
            time: departure)
        add(to: builder, key: "N24211", value: nil, type: nil, time: departure + 60_000)
    }

    /// The one behind it: one record.
    static let second = make(sequence: 2) { builder in
        add(
            to: builder, key: "N14228", value: "{\"delay\":11}", type: nil,
            time: departure + 13_620_000)
    }

    /// As the broker stores them and sends them to readers.
    static let storedFirst = assigned(first, baseOffset: 0)
    static let storedSecond = assigned(second, baseOffset: 2)

    private static func make(
        sequence: Int32, _ fill: (RecordBatchBuilder) -> Void
    ) -> [UInt8] {
        let slab = ByteSlab(capacity: 4_096)
        let builder = RecordBatchBuilder(slab: slab)
        fill(builder)
        _ = builder.finish(producerID: producerID, producerEpoch: 0, baseSequence: sequence)
        return array(slab.bytes)
    }

    private static func add(
        to builder: RecordBatchBuilder, key: String, value: String?, type: String?, time: Int64
    ) {
        let headers = type.map { [(key: "type", value: Array($0.utf8))] } ?? []
        let key = Array(key.utf8)
        let isTaken =
            if let value = value.map({ Array($0.utf8) }) {
                unsafe builder.append(
                    key: key.span.bytes, value: value.span.bytes, headers: headers,
                    timestamp: time)
            } else {
                unsafe builder.append(
                    key: key.span.bytes, value: nil, headers: headers, timestamp: time)
            }
        precondition(isTaken, "an example fits its slab")
    }

    private static func assigned(_ batch: [UInt8], baseOffset: Int64) -> [UInt8] {
        let slab = slab(batch)
        RecordBatch.assign(
            baseOffset: baseOffset, leaderEpoch: leaderEpoch, in: slab, at: 0)
        return array(slab.bytes)
    }

    /// The running checksum over the prefixes of these batches.
    static func chain(_ batches: [[UInt8]], continuing start: UInt32 = 0) -> UInt32 {
        batches.reduce(start) { running, batch in
            unsafe RecordBatch.prefixChecksum(batch.span.bytes, continuing: running)
        }
    }
}

func array(_ span: RawSpan) -> [UInt8] {
    unsafe span.withUnsafeBytes { unsafe Array($0) }
}

/// A slab that holds exactly these bytes.
func slab(_ bytes: [UInt8]) -> ByteSlab {
    let slab = ByteSlab(capacity: max(bytes.count, 1))
    unsafe slab.append(bytes.span.bytes)
    return slab
}

func crc(_ bytes: [UInt8]) -> UInt32 {
    unsafe CRC32C.checksum(bytes.span.bytes)
}
