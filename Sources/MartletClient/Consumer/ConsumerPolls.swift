/// A consumer's fetches on their way.
///
/// One asks for all partitions, and the broker holds it until there is something. A partition that it
/// does not ask for, since it came later or is read from elsewhere by now, gets one beside it. All may
/// be held up to the same time, and at that time the next one waits until all are back: it asks for all
/// partitions again. So those beside do not last, though nobody can call a fetch back.
struct ConsumerPolls {
    struct Poll {
        fileprivate let number: Int
        /// How long the broker may hold it, in nanoseconds.
        let wait: Int64
    }

    /// Each can bring a whole answer, and a broker reads no more of a connection with too many requests.
    private static let most = 16
    /// In nanoseconds.
    private static let grace: Int64 = 50_000_000

    private var out: Set<Int> = []
    private var last = 0
    /// Until when the broker may hold those that are out, on the monotonic clock.
    private var end: Int64 = 0

    var areOut: Bool { !out.isEmpty }

    /// Whether another fetch may leave now.
    func mayAsk(at now: Int64) -> Bool {
        out.isEmpty || out.count < Self.most && heldBack(at: now) == nil
    }

    /// Until when the next fetch waits for those that are due; nil: it does not.
    func heldBack(at now: Int64) -> Int64? {
        // A broker that is late, or has another idea of time, holds up nothing for longer.
        let limit = end.addingClamped(Self.grace)
        return !out.isEmpty && now >= end && now < limit ? limit : nil
    }

    mutating func begin(at now: Int64, maxWait: Int64) -> Poll {
        if out.isEmpty || now >= end { end = now.addingClamped(maxWait) }
        last += 1
        out.insert(last)
        return Poll(number: last, wait: max(end - now, 0))
    }

    /// The connection is gone, and they with it.
    mutating func forget() { out = [] }

    /// False: it was not out any more.
    mutating func end(_ poll: Poll) -> Bool {
        out.remove(poll.number) != nil
    }
}
