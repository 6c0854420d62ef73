import MartletFormat

/// Batches as producers write them.
enum Samples {
    static var batches: [(name: String, bytes: [UInt8])] {
        [
            ("one", batch(["value"])),
            ("three", batch(["a", "bb", ""], key: "key")),
            ("headers", batch(["v"], key: "k", headers: [("trace", [1, 2]), ("é", nil)])),
            ("null-value", batch([nil, nil], key: "tomb")),
            ("producer", batch(["x", "y"], producer: 9, epoch: 1, sequence: 4)),
            ("times", batch(["x", "y", "z"], time: -5_000, step: 4_000)),
            ("large", batch([String(repeating: "long ", count: 60)])),
        ]
    }

    static func batch(
        _ values: [String?], key: String? = nil,
        headers: [(key: String, value: [UInt8]?)] = [], time: Int64 = 1_000, step: Int64 = 1,
        producer: Int64 = -1, epoch: Int16 = -1, sequence: Int32 = -1, base: Int64 = 0,
        leaderEpoch: Int32 = 1
    ) -> [UInt8] {
        let slab = ByteSlab(capacity: 4096)
        let builder = RecordBatchBuilder(slab: slab)
        let key = key.map { Array($0.utf8) }
        for (index, value) in values.enumerated() {
            let value = value.map { Array($0.utf8) }
            let fits = builder.append(
                key: key?.span.bytes, value: value?.span.bytes, headers: headers,
                timestamp: time + step * Int64(index))
            require(fits, "a sample does not fit")
        }
        _ = builder.finish(producerID: producer, producerEpoch: epoch, baseSequence: sequence)
        RecordBatch.assign(baseOffset: base, leaderEpoch: leaderEpoch, in: slab, at: 0)
        return slab.array
    }

    /// Consecutive batches of two records each, as a segment holds them.
    static func run(from base: Int64, count: Int, leaderEpoch: Int32 = 1) -> [UInt8] {
        (0..<count).flatMap {
            batch(
                ["first \($0)", "second"], key: "k\($0 % 3)", time: 1_000 + Int64($0) * 10,
                base: base + Int64($0) * 2, leaderEpoch: leaderEpoch)
        }
    }
}
