/// The limits and time-outs of the network side. Every number that a stranger can run into is
/// here, with its unit in the name; configuration fills them.
package struct BrokerLimits: Sendable {
    package var connectionsMax = 4_096
    /// `connectionsMax` as it is configured; fewer have descriptors on some machines.
    package var connectionsWanted = 4_096
    package var connectionsPerAddressMax = 256
    package var acceptsPerSecond = 200
    package var acceptsPerSecondPerAddress = 20
    package var adminConnectionsMax = 64
    package var adminTimeoutMilliseconds = 10_000

    /// Largest `byteCount` before and after the hello.
    package var helloFrameBytesMax = 64 * 1_024
    package var frameBytesMax = 16 * 1_024 * 1_024
    /// The largest batch that any topic may be set to.
    package var batchBytesMax = 8 * 1_024 * 1_024
    package var requestsInFlightMax = 64
    package var outputBytesMax = 32 * 1_024 * 1_024
    package var helloOutputBytesMax = 1_024
    /// What all connections together may hold for requests that are arriving and for replies that
    /// wait in memory.
    package var memoryBytesMax = 1 << 30
    /// `memoryBytesMax` as it was meant to be; the process may have less than that needs.
    package var memoryBytesWanted = 1 << 30
    /// Unused buffers that are kept for the next request.
    package var poolBytesMax = 64 * 1_024 * 1_024
    package var producersMax = 100_000

    package var helloTimeoutMilliseconds = 10_000
    package var idleTimeoutMilliseconds = 600_000
    /// A frame that has begun must be whole by then, plus a second for each `frameBytesPerSecond`.
    package var frameTimeoutMilliseconds = 30_000
    package var frameBytesPerSecond = 32 * 1_024
    /// So long nothing may come of it, and next to nothing may be taken of the replies, while memory
    /// is short.
    package var frameSilenceMilliseconds = 5_000
    /// So long a fetch is put off that there is no memory for. Longer than what holds it may.
    package var memoryWaitMilliseconds = 10_000
    /// A peer that takes nothing of what waits for it for so long is closed.
    package var writeTimeoutMilliseconds = 30_000
    package var lingerMilliseconds = 1_000
    package var keepAliveSeconds = 60
    package var userTimeoutMilliseconds = 60_000
    package var fetchWaitMillisecondsMax = 60_000
    package var drainMilliseconds = 8_000
    /// Send buffer of each socket in bytes; nil leaves it to the kernel.
    package var socketSendBytes: Int?

    /// One connection's share of a turn of its queue.
    package var readBytesPerTurnMax = 4 * 1_024 * 1_024
    package var sendBytesPerTurnMax = 8 * 1_024 * 1_024

    package init() {}

    /// The largest answer that a fetch may ask for, such that one more batch fits the frame.
    package var fetchBytesMax: Int { max(frameBytesMax - batchBytesMax - 1_024 * 1_024, 65_536) }

    var helloTimeoutNanoseconds: Int64 { Self.nanoseconds(helloTimeoutMilliseconds) }
    var idleTimeoutNanoseconds: Int64 { Self.nanoseconds(idleTimeoutMilliseconds) }
    var writeTimeoutNanoseconds: Int64 { Self.nanoseconds(writeTimeoutMilliseconds) }
    var frameSilenceNanoseconds: Int64 { Self.nanoseconds(frameSilenceMilliseconds) }
    var memoryWaitNanoseconds: Int64 { Self.nanoseconds(memoryWaitMilliseconds) }
    var lingerNanoseconds: Int64 { Self.nanoseconds(lingerMilliseconds) }

    /// How long a frame of which `bytes` have come may take.
    func frameTimeout(bytes: Int) -> Int64 {
        Self.nanoseconds(frameTimeoutMilliseconds + bytes / max(frameBytesPerSecond / 1_000, 1))
    }

    static func nanoseconds(_ milliseconds: Int) -> Int64 {
        let (product, overflow) = Int64(milliseconds).multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .max / 2 : product
    }
}
