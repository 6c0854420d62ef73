import MartletClient
import MartletSystem

/// Gives records to a producer as fast as it takes them.
struct BenchFill: ~Copyable {
    private let producer: Producer
    private let topic: TopicHandle
    private let size: Int
    private var values: BenchValues
    /// nil: one partition, or the client chooses.
    private let partitions: Int32?
    private var partition: Int32 = 0
    private let clock = SystemClock()

    /// Records between two looks at the clock.
    private static let roundRecords = 256

    init(_ plan: BenchPlan, _ producer: Producer, _ topic: TopicHandle, stream: Int) {
        self.producer = producer
        self.topic = topic
        size = plan.size
        values = BenchValues(size: plan.size, stream: stream)
        let isSpread = plan.partitions > 1 && plan.spread == .even
        partitions = isSpread ? Int32(clamping: plan.partitions) : nil
    }

    /// Goes on until both are reached; returns the records given.
    mutating func run(nanoseconds: Int64, bytes: Int64) async throws -> Int64 {
        let end = clock.monotonicNanoseconds() + nanoseconds
        var records: Int64 = 0
        while records * Int64(size) < bytes || clock.monotonicNanoseconds() < end {
            for _ in 0..<Self.roundRecords { try await give() }
            records += Int64(Self.roundRecords)
            try Task.checkCancellation()
        }
        return records
    }

    @inline(__always)
    private mutating func give() async throws {
        let range = values.next()
        let target = nextPartition()
        while true {
            do {
                return try producer.enqueue(
                    to: topic, value: values.span(range), partition: target)
            } catch let error as MartletError where error.code == .bufferFull {
                try await producer.waitForSpace()
            }
        }
    }

    @inline(__always)
    private mutating func nextPartition() -> Int32? {
        guard let partitions else { return nil }
        partition += 1
        if partition >= partitions { partition = 0 }
        return partition
    }
}
