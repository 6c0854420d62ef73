import MartletFormat
import MartletStorage
import MartletSystem

/// What both readers of these tests do alike: ask a log as the broker does, and look into what came.
extension PartitionLog {
    /// One question from `offset` on, with the second and third try that the broker makes.
    func answer(from offset: Int64, maxBytes: Int, verifies: Bool) throws -> ReadOutcome {
        if verifies { return try verifiedRead(from: offset, maxBytes: maxBytes) }
        var outcome = plan(from: offset, maxBytes: maxBytes)
        if case .needsDisk = outcome {
            outcome = try planFromDisk(from: offset, maxBytes: maxBytes)
        }
        if case .needsVerification = outcome {
            outcome = try verifiedRead(from: offset, maxBytes: maxBytes)
        }
        return outcome
    }
}

extension ReadPlan {
    /// The bytes of the plan; fewer when the file ends before them.
    func bytes() throws -> ByteSlab {
        if let slab { return slab }
        let slab = ByteSlab(capacity: max(1, length))
        guard let file else { return slab }
        while slab.freeCapacity > 0 {
            let got = unsafe try slab.fill {
                (space: UnsafeMutableRawBufferPointer) throws(SystemError) in
                unsafe try file.read(into: space, at: position + Int64(slab.count))
            }
            if got == 0 { break }
        }
        return slab
    }
}

extension ByteSlab {
    /// The records of the batch in `range` from `offset` on, those without a value aside.
    func records(
        in range: Range<Int>, _ header: RecordBatchHeader, from offset: Int64
    ) throws -> [(offset: Int64, value: String)] {
        var found: [(offset: Int64, value: String)] = []
        var cursor = RecordCursor(header)
        while let record = try cursor.next(in: span(range)) {
            let recordOffset = header.baseOffset + Int64(record.offsetDelta)
            guard recordOffset >= offset, let value = record.value else { continue }
            let start = range.lowerBound
            let bytes = span((start + value.lowerBound)..<(start + value.upperBound))
            let text = unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
            found.append((recordOffset, text))
        }
        return found
    }
}
