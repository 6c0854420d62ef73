import Glibc
import MartletJSON
import MartletSystem
import Synchronization

/// The history of one process: a file of JSON lines outside the broker, which only it writes.
final class HistoryWriter: Sendable {
    private let descriptor: CInt
    private let line = Mutex<[UInt8]>([])

    init(_ path: String) throws {
        descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw VerifyError("cannot open \(path)") }
    }

    deinit { close(descriptor) }

    /// One line with one write: a kill leaves all of it, or an end without a line feed. In the order
    /// of their times, on a clock that all processes share.
    func write(
        _ operation: HistoryEvent.Operation, _ phase: HistoryEvent.Phase? = nil,
        _ facts: JSONObject = [:]
    ) {
        line.withLock { line in
            var object: JSONObject = [
                "t": JSONValue(SystemClock().bootNanoseconds()), "op": .string(operation.rawValue),
            ]
            if let phase { object["ph"] = .string(phase.rawValue) }
            for member in facts.members { object[member.key] = member.value }
            line.removeAll(keepingCapacity: true)
            JSONWriter.append(.object(object), to: &line)
            line.append(10)
            let count = unsafe line.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            // Without its history a process must do nothing more.
            if count != line.count { exit(3) }
        }
    }
}

extension JSONValue {
    init(_ ranges: [Range<Int64>]) {
        self = .array(ranges.map { [.integer($0.lowerBound), .integer($0.upperBound)] })
    }
}
