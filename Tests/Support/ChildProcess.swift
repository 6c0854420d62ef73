package import Glibc
package import MartletSystem
import Synchronization

/// Another program: started with pipes, killed, waited for.
///
/// Waiting calls block; their deadlines only end tests that hang. The child is killed when the
/// last reference goes.
package final class ChildProcess: Sendable {
    package enum Ending: Equatable, Sendable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    package let id: pid_t
    private let input: Mutex<CInt>
    private let watch: ChildWatch

    // A pipe end must not reach a child that another test starts at the same time: it would keep
    // the pipe open. So only one child starts at a time.
    private static let starting = Mutex(())

    /// Starts `executable` (a path). An `environment` of nil means that of the test.
    package init(
        _ executable: String, _ arguments: [String] = [], environment: [String: String]? = nil
    ) throws(SystemError) {
        Signals.ignoreBrokenPipe()
        let variables = environment ?? CurrentProcess.environment
        let start = ChildStart(
            executable: executable, arguments: [executable] + arguments,
            environment: variables.map { "\($0.key)=\($0.value)" }.sorted()
        )
        let started = try Self.starting.withLock { _ throws(SystemError) in try start.run() }
        id = started.id
        input = Mutex(started.input)
        watch = ChildWatch(id: started.id)
        watch.collect(started.output, into: \.output)
        watch.collect(started.error, into: \.error)
        watch.reap()
    }

    deinit {
        kill()
        closeInput()
    }

    /// What it wrote to standard output so far.
    package var output: String { String(decoding: outputBytes, as: UTF8.self) }
    package var outputBytes: [UInt8] { watch.state.withLock { $0.output } }
    /// What it wrote to standard error so far.
    package var errorOutput: String {
        String(decoding: watch.state.withLock { $0.error }, as: UTF8.self)
    }

    /// How it ended; nil while it runs.
    package var ending: Ending? { watch.state.withLock { $0.ending } }

    /// Sends a signal, SIGKILL by default. Does nothing when it has ended.
    package func kill(_ signal: CInt = SIGKILL) {
        watch.state.withLock { state in
            // The number of a reaped process may belong to another one by now.
            if state.ending == nil { _ = Glibc.kill(id, signal) }
        }
    }

    /// Waits for the end and for all of its output; nil when the deadline passed.
    package func wait(seconds: Int = 60) -> Ending? {
        watch.wait(seconds: seconds) { state in
            state.openPipes == 0 ? state.ending : nil
        }
    }

    /// Waits until standard output contains `text`; false at its end or when the deadline passed.
    package func waitForOutput(_ text: String, seconds: Int = 60) -> Bool {
        watch.waitForText(text, in: \.output, seconds: seconds)
    }

    /// The same for standard error.
    package func waitForErrorOutput(_ text: String, seconds: Int = 60) -> Bool {
        watch.waitForText(text, in: \.error, seconds: seconds)
    }

    /// Writes to its standard input; EPIPE when it has closed it.
    package func write(_ text: String) throws(SystemError) {
        var rest = Array(text.utf8)[...]
        try input.withLock { input throws(SystemError) in
            while !rest.isEmpty {
                let moved = unsafe rest.withUnsafeBytes { bytes in
                    unsafe Glibc.write(input, bytes.baseAddress, bytes.count)
                }
                if moved < 0 {
                    let code = errno
                    if code == EINTR { continue }
                    throw SystemError(call: "write", code: code)
                }
                rest = rest.dropFirst(moved)
            }
        }
    }

    /// Its standard input ends here.
    package func closeInput() {
        input.withLock { input in
            if input >= 0 { _ = Glibc.close(input) }
            input = -1
        }
    }
}
