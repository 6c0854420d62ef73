import FoundationEssentials
import Glibc
import Synchronization

/// What the members leave outside the broker: the check goes by it alone.
struct ActFiles: Sendable {
    let folder: String

    /// `ID MEMBER`: what `board` handled, in the order in which it did.
    var handled: String { "\(folder)/board.handled" }
    /// `ID MEMBER TAIL-NUMBER`: the messages that `notify` sent.
    var sent: String { "\(folder)/notify.sent" }
    /// The same for messages that were sent already.
    var again: String { "\(folder)/notify.again" }
    /// `ID`: what failed in the outage, each time.
    var outages: String { "\(folder)/notify.outages" }
    /// The outage lasts while this is there.
    var outage: String { "\(folder)/outage" }

    /// The words of each line.
    static func lines(_ path: String) throws -> [[String]] {
        try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { line in
            line.split(separator: " ").map(String.init)
        }
    }
}

/// A file that several processes append lines to; its order is that of their writes.
final class Book: Sendable {
    let descriptor: CInt

    init(appendingTo path: String) throws {
        descriptor = unsafe open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw FlightError("cannot open \(path)") }
    }

    deinit { close(descriptor) }

    /// One line with one write: a kill leaves all of it or nothing.
    func add(_ line: String) throws {
        let bytes = Array("\(line)\n".utf8)
        let count = unsafe bytes.withUnsafeBytes {
            unsafe write(descriptor, $0.baseAddress, $0.count)
        }
        guard count == bytes.count else { throw FlightError("cannot write a line") }
    }
}

/// Sends each message once, whoever asks for it and how often: a queue may hand an event out again
/// when a member or the broker dies between the message and its ack. The id of the event tells.
final class Outbox: Sendable {
    private struct Known {
        var ids: Set<String> = []
        /// The file is known up to here.
        var end: Int = 0
    }

    private let sent: Book
    private let again: Book
    private let known = Mutex(Known())

    init(_ sent: String, again: String) throws {
        self.sent = try Book(appendingTo: sent)
        self.again = try Book(appendingTo: again)
    }

    func send(_ event: FlightEvent, _ member: String) throws {
        let line = "\(event.id) \(member) \(event.tailNumber ?? "-")"
        try known.withLock { known in
            // The other processes wait meanwhile; the lock of one that is killed is gone.
            guard flock(sent.descriptor, LOCK_EX) == 0 else {
                throw FlightError("cannot lock the outbox")
            }
            defer { flock(sent.descriptor, LOCK_UN) }
            learn(&known)
            if known.ids.contains(event.id) {
                try again.add(line)
            } else {
                try sent.add(line)
            }
        }
    }

    /// Reads what all members sent since the last look.
    private func learn(_ known: inout Known) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var rest: [UInt8] = []
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe pread(sent.descriptor, $0.baseAddress, $0.count, known.end)
            }
            guard count > 0 else { return }
            known.end += count
            let bytes = rest + buffer[..<count]
            let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
            for line in lines.dropLast() {
                known.ids.insert(String(decoding: line.prefix { $0 != 0x20 }, as: UTF8.self))
            }
            rest = Array(lines.last ?? [])
        }
    }
}
