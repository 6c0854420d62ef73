import MartletGroups
import MartletWire

/// The fields of a `GroupEntry` that tells of a breaker.
struct BreakerFields: Equatable {
    private var number: UInt8 = 0
    private var since: Int64 = 0
    private var until: Int64 = 0

    init() {}

    init(_ state: BreakerState) {
        number = state.number
        switch state {
        case .closed: break
        case .halfOpen(let since): self.since = since
        case .open(let since, let until): (self.since, self.until) = (since, until)
        }
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("state", &number, "0: closed; 1: half-open; 2: open")
        try c.int64("since", &since, "milliseconds since 1970 UTC")
        try c.int64("until", &until, "it is tried again then")
    }

    /// nil for what no broker writes.
    var state: BreakerState? {
        switch number {
        case 0: .closed
        case 1: .halfOpen(since: since)
        case 2: .open(since: since, until: until)
        default: nil
        }
    }
}

extension BreakerState {
    /// On the wire, on the disk and in metrics.
    var number: UInt8 {
        switch self {
        case .closed: 0
        case .halfOpen: 1
        case .open: 2
        }
    }
}

extension BreakerItem {
    init(_ line: BreakerLine) {
        self.init()
        state = line.state.number
        switch line.state {
        case .closed: break
        case .halfOpen(let since): self.since = since
        case .open(let since, let until): (self.since, self.until) = (since, until)
        }
        outcomes = UInt32(clamping: line.outcomes)
        failures = UInt32(clamping: line.failures)
        openings = line.openings
    }
}
