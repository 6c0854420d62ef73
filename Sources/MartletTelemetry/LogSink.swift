import Glibc
import Synchronization

/// Where finished lines go. Called from any thread.
package protocol LogSink: Sendable {
    /// `line` ends in a line feed and holds no other one.
    func write(_ line: [UInt8], of event: LogEvent)
}

/// Descriptor 2, with `write(2)`. One line is one call where the kernel takes it in one piece, and
/// a lock keeps longer ones apart. A line that cannot be written is dropped and counted: nothing is
/// left to tell it to.
package final class StandardErrorSink: LogSink {
    package static let shared = StandardErrorSink()

    /// Whether a line was left without its end: the next one begins on a new line.
    private let lineIsOpen = Mutex(false)
    private let dropped = Atomic<UInt64>(0)

    private init() {}

    /// Lines that descriptor 2 did not take.
    package var droppedLines: UInt64 { dropped.load(ordering: .relaxed) }

    package func write(_ line: [UInt8], of event: LogEvent) {
        let isComplete = lineIsOpen.withLock { isOpen in
            let bytes = isOpen ? [0x0A] + line : line
            let written = Self.writeAll(bytes)
            if written > 0 { isOpen = written < bytes.count }
            return written == bytes.count
        }
        if !isComplete { dropped.add(1, ordering: .relaxed) }
    }

    /// How many bytes descriptor 2 took.
    private static func writeAll(_ line: [UInt8]) -> Int {
        unsafe line.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[done...])
                let written = unsafe Glibc.write(2, rest.baseAddress, rest.count)
                if written > 0 {
                    done += written
                } else if written == 0 || errno != EINTR {
                    break
                }
            }
            return done
        }
    }
}

/// Keeps events for a test to look at.
package final class LogCapture: LogSink {
    private let kept = Mutex<[(line: String, event: LogEvent)]>([])

    package init() {}

    package func write(_ line: [UInt8], of event: LogEvent) {
        let text = String(decoding: line.dropLast(), as: UTF8.self)
        kept.withLock { $0.append((text, event)) }
    }

    package var lines: [String] { kept.withLock { $0.map(\.line) } }
    package var events: [LogEvent] { kept.withLock { $0.map(\.event) } }
    package var codes: [String] { events.map(\.code.description) }

    package func clear() {
        kept.withLock { $0.removeAll() }
    }
}

/// Takes nothing.
struct DiscardingSink: LogSink {
    func write(_ line: [UInt8], of event: LogEvent) {}
}
