import Glibc
import MartletJSON

/// One line of a history. What a line has no word for is nothing here.
struct HistoryEvent {
    enum Operation: String {
        /// A process begins.
        case start
        case send
        case join
        /// The broker has heard of the member.
        case heard
        case assign
        case release
        case leave
        case commit
        /// A handler begins, and ends well.
        case begin
        case done
        /// A queue hands out records.
        case deliver
        case settle
        /// What the driver does to the others.
        case nemesis
        /// What the driver is told of the groups.
        case committed
        case accounts
        /// A record of the complete read at the end.
        case drain
        /// A dead letter as it is listed at the end, and one as its topic has it.
        case listed
        case letter
        /// Records of the queue are sent to it again.
        case replay
        /// What a group counts in the end.
        case tally
        /// What the broker takes of its machine.
        case resource
        /// The last line of a process that ended in order; of the driver, when all had come to rest.
        case end
        /// A process ended by itself, with its last words.
        case ended
    }

    enum Phase: String {
        case invoke
        case ok
        /// It is certain that it did not happen.
        case fail
        /// Nobody knows.
        case info
    }

    let time: Int64
    let process: Int
    let operation: Operation
    let phase: Phase?
    /// What its process is: the word with which it began.
    let kind: String
    let partition: Int32
    /// Of a queue: 0 the flow, 1 what was sent again.
    let lane: Int64
    let epoch: Int32
    let offset: Int64
    let end: Int64
    /// Of a commit, settlement or look: what belongs together.
    let number: Int64
    /// Of a delivery of a queue.
    let delivery: UInt64
    let asked: Int64
    let lag: Int64
    let sum: Int64
    /// The first offset of the log.
    let logStart: Int64
    let acked: Int64
    let dead: Int64
    let expired: Int64
    let parked: Int64
    let bytes: Int64
    let descriptors: Int64
    let member: String
    let word: String
    let payload: Payload.Name?
    let ranges: [Range<Int64>]

    /// `kind`: what is known of the process so far; its first line says it.
    init(_ line: JSONObject, process: Int, kind: String) throws {
        var found: [String: JSONValue] = [:]
        for member in line.members { found[member.key] = member.value }
        guard let time = found["t"]?.integerValue,
            let operation = found["op"]?.stringValue.flatMap(Operation.init)
        else { throw VerifyError("a line that is none: \(line)") }
        func integer(_ key: String) -> Int64 { found[key]?.integerValue ?? -1 }
        self.time = time
        self.process = process
        self.operation = operation
        phase = found["ph"]?.stringValue.flatMap(Phase.init)
        partition = Int32(clamping: integer("k"))
        lane = max(0, integer("lane"))
        epoch = Int32(clamping: integer("gen"))
        offset = integer("off")
        end = integer("to")
        number = integer("n")
        if case .unsigned(let large)? = found["d"] {
            delivery = large
        } else {
            delivery = UInt64(clamping: integer("d"))
        }
        asked = integer("asked")
        lag = integer("lag")
        sum = integer("sum")
        logStart = integer("log")
        acked = integer("acked")
        dead = integer("dead")
        expired = integer("expired")
        parked = integer("parked")
        bytes = integer("bytes")
        descriptors = integer("fds")
        member = found["m"]?.stringValue ?? ""
        word = found["f"]?.stringValue ?? ""
        self.kind = operation == .start ? word : kind
        payload = found["v"]?.stringValue.flatMap(Payload.Name.init)
        ranges = (found["fin"]?.arrayValue ?? []).compactMap { range in
            guard let from = range[0]?.integerValue, let to = range[1]?.integerValue, from < to
            else { return nil }
            return from..<to
        }
    }
}

/// Reads what the processes wrote.
enum HistoryFile {
    /// Calls `body` with each line; one that a kill cut off is none.
    static func read(_ path: String, _ body: (JSONObject) throws -> Void) throws {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        // A process that was killed early has none.
        if descriptor < 0, errno == ENOENT { return }
        guard descriptor >= 0 else { throw VerifyError("cannot open \(path)") }
        defer { close(descriptor) }
        var rest: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return }
            rest += buffer[..<count]
            var from = 0
            while let end = rest[from...].firstIndex(of: 10) {
                guard case .object(let line) = try JSONValue(parsing: rest[from..<end]) else {
                    throw VerifyError("\(path): a line that is no object")
                }
                try body(line)
                from = end + 1
            }
            rest.removeFirst(from)
        }
    }
}

extension Payload {
    /// Which value it is, without its bytes: `lane:counter`.
    struct Name: Hashable, CustomStringConvertible {
        let lane: Int
        let counter: Int

        init?(_ text: String) {
            let parts = text.split(separator: ":")
            guard parts.count == 2, let lane = Int(parts[0]), let counter = Int(parts[1]) else {
                return nil
            }
            (self.lane, self.counter) = (lane, counter)
        }

        var description: String { "\(lane):\(counter)" }
    }

    var name: String { "\(lane):\(counter)" }
}
