import MartletFormat
import MartletSystem

/// Times a plain TCP connection over 127.0.0.1 between two threads.
struct LoopbackProbe {
    /// How long each measurement runs.
    let nanoseconds: Int64

    private static let messageBytes = 1024
    private static let streamBytes = 1 << 20
    private let clock = SystemClock()

    init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// 1 KiB there and back, one at a time.
    func roundTrips() throws(SystemError) -> ProbeFigures {
        let pair = try LoopbackPair()
        let far = pair.far
        let echo = SerialQueue(label: "martlet.bench.echo")
        echo.execute { Self.echo(far) }
        defer { pair.near.finish() }
        let message = DiskProbe.random(Self.messageBytes)
        let answer = ByteSlab(capacity: Self.messageBytes)
        var figures = ProbeFigures()
        let start = clock.monotonicNanoseconds()
        var now = start
        while now - start < nanoseconds {
            guard try Self.exchange(pair.near, message, answer) else { break }
            let end = clock.monotonicNanoseconds()
            figures.latency.record(nanoseconds: end - now)
            figures.operations += 1
            figures.bytes += Int64(Self.messageBytes)
            now = end
        }
        figures.nanoseconds = now - start
        return figures
    }

    /// One way, as fast as it goes.
    func bytesPerSecond() throws(SystemError) -> Double {
        let pair = try LoopbackPair()
        let far = pair.far
        let sender = SerialQueue(label: "martlet.bench.sender")
        let clock = clock
        let end = clock.monotonicNanoseconds() + nanoseconds
        sender.execute {
            let content = DiskProbe.random(Self.streamBytes)
            while clock.monotonicNanoseconds() < end, Self.send(far, content) {}
            far.finish()
        }
        let buffer = ByteSlab(capacity: Self.streamBytes)
        var bytes: Int64 = 0
        let start = clock.monotonicNanoseconds()
        while true {
            buffer.clear()
            let count = try unsafe buffer.fill { free throws(SystemError) in
                try unsafe pair.near.receive(into: free)
            }
            if count == 0 { break }
            bytes += Int64(count)
        }
        let taken = clock.monotonicNanoseconds() - start
        return taken > 0 ? Double(bytes) / (Double(taken) / 1e9) : 0
    }

    private static func exchange(
        _ end: LoopbackEnd, _ message: ByteSlab, _ answer: ByteSlab
    ) throws(SystemError) -> Bool {
        try unsafe message.withUnsafeBytes(0..<message.count) { bytes throws(SystemError) in
            try unsafe end.send(bytes)
        }
        answer.clear()
        let count = try unsafe answer.fill { free throws(SystemError) in
            try unsafe end.receiveAll(into: free) ? free.count : 0
        }
        return count == messageBytes
    }

    private static func send(_ end: LoopbackEnd, _ content: ByteSlab) -> Bool {
        do throws(SystemError) {
            try unsafe content.withUnsafeBytes(0..<content.count) { bytes throws(SystemError) in
                try unsafe end.send(bytes)
            }
            return true
        } catch {
            return false  // the other end gave up and says why
        }
    }

    private static func echo(_ end: LoopbackEnd) {
        let buffer = ByteSlab(capacity: messageBytes)
        while true {
            buffer.clear()
            do throws(SystemError) {
                let count = try unsafe buffer.fill { free throws(SystemError) in
                    try unsafe end.receiveAll(into: free) ? free.count : 0
                }
                if count == 0 { return }
                try unsafe buffer.withUnsafeBytes(0..<count) { bytes throws(SystemError) in
                    try unsafe end.send(bytes)
                }
            } catch {
                return  // the other end gave up and says why
            }
        }
    }
}
