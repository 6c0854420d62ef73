import CMartletShim
import Glibc

/// Standard input, output or error of the process, unbuffered.
package struct StandardStream: Sendable {
    package static let input = StandardStream(descriptor: 0)
    package static let output = StandardStream(descriptor: 1)
    package static let error = StandardStream(descriptor: 2)

    private let descriptor: CInt

    private init(descriptor: CInt) {
        self.descriptor = descriptor
    }

    /// Writes all of the bytes, waiting as long as the reader takes.
    ///
    /// A reader that is gone (`| head`) is EPIPE: the caller ends quietly. The process must have
    /// called `Signals.ignoreBrokenPipe()`, or the signal ends it first.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        _ = try SystemCall.transferAll(bytes.count) { done throws(SystemError) in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            while true {
                let moved = SystemCall.retrying {
                    unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
                }
                if moved >= 0 { return moved }
                let code = errno
                // Whoever shares the terminal may have made it non-blocking.
                if code != EAGAIN { throw SystemError(call: "write", code: code) }
                try waitUntilWritable()
            }
        }
    }

    package func write(_ bytes: [UInt8]) throws(SystemError) {
        try unsafe bytes.span.withUnsafeBytes { buffer throws(SystemError) in
            try unsafe write(buffer)
        }
    }

    package func write(_ text: String) throws(SystemError) {
        try write(Array(text.utf8))
    }

    /// Reads what is there, waiting for at least one byte; 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try SystemCall.check("read") {
            unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        }
    }

    /// Whether a person is likely to look at it: colours and progress lines make sense.
    package var isTerminal: Bool { isatty(descriptor) == 1 }

    /// Columns of the terminal; nil when there is none.
    package var terminalWidth: Int? {
        let columns = martlet_terminal_width(descriptor)
        return columns > 0 ? Int(columns) : nil
    }

    /// Rows of the terminal; nil when there is none.
    package var terminalHeight: Int? {
        let rows = martlet_terminal_height(descriptor)
        return rows > 0 ? Int(rows) : nil
    }

    private func waitUntilWritable() throws(SystemError) {
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        try SystemCall.check("poll") { unsafe poll(&request, 1, -1) }
    }
}
