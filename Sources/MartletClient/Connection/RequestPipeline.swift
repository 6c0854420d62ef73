import MartletSystem
import MartletWire

/// Requests that wait for their answers, by correlation number. Confined to the connection's queue.
struct RequestPipeline {
    struct Open {
        let operation: Operation
        let deadline: Int64
        let closesOnTimeout: Bool
        let handler: (ReplyOutcome) -> Void
    }

    /// How often timeouts are looked for.
    static let sweepNanoseconds: Int64 = 100_000_000

    private let clock: any Clock
    private var open: [UInt64: Open] = [:]
    /// Numbers whose answer may still come although nobody waits for it any more.
    private var abandoned: Set<UInt64> = []
    private var lastCorrelation: UInt64 = 0
    private var isSweepScheduled = false

    init(clock: any Clock) {
        self.clock = clock
    }

    var count: Int { open.count }

    mutating func nextCorrelation() -> UInt64 {
        lastCorrelation &+= 1
        return lastCorrelation
    }

    mutating func add(
        _ correlation: UInt64, _ operation: Operation, timeout: Int64, closesOnTimeout: Bool,
        handler: @escaping (ReplyOutcome) -> Void
    ) {
        let (deadline, overflow) = clock.monotonicNanoseconds().addingReportingOverflow(timeout)
        open[correlation] = Open(
            operation: operation, deadline: overflow ? .max : deadline,
            closesOnTimeout: closesOnTimeout, handler: handler)
    }

    /// The handler of the request that this frame answers; nil when there is none, also when the
    /// frame is for another operation than was asked.
    mutating func take(_ header: FrameHeader) -> ((ReplyOutcome) -> Void)? {
        guard header.isReply, let request = open[header.correlation],
            header.known == request.operation
        else { return nil }
        open[header.correlation] = nil
        return request.handler
    }

    /// Whether the number belongs to a request that timed out. Says so once.
    mutating func wasAbandoned(_ correlation: UInt64) -> Bool {
        abandoned.remove(correlation) != nil
    }

    /// What the oldest late request asked whose lateness ends the connection; nil: there is none.
    var firstLateThatCloses: Operation? {
        let now = clock.monotonicNanoseconds()
        return open.filter { $0.value.closesOnTimeout && $0.value.deadline <= now }
            .min { $0.key < $1.key }?.value.operation
    }

    mutating func removeLate() -> [Open] {
        let now = clock.monotonicNanoseconds()
        let late = open.filter { $0.value.deadline <= now }
        for correlation in late.keys {
            open[correlation] = nil
            abandoned.insert(correlation)
        }
        return late.sorted { $0.key < $1.key }.map(\.value)
    }

    /// In the order in which they were sent.
    mutating func removeAll() -> [(ReplyOutcome) -> Void] {
        let handlers = open.sorted { $0.key < $1.key }.map(\.value.handler)
        open.removeAll()
        abandoned.removeAll()
        return handlers
    }

    /// True when the caller has to schedule a look for timeouts.
    mutating func startsSweep() -> Bool {
        if isSweepScheduled { return false }
        isSweepScheduled = true
        return true
    }

    mutating func endSweep() {
        isSweepScheduled = false
    }
}
