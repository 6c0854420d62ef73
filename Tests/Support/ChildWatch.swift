import Dispatch
import Glibc
import Synchronization

/// What is known of a child, and the threads that find out.
final class ChildWatch: Sendable {
    struct State {
        var ending: ChildProcess.Ending?
        var output: [UInt8] = []
        var error: [UInt8] = []
        var openPipes = 0
        var waiters: [DispatchSemaphore] = []
    }

    let id: pid_t
    let state = Mutex(State())

    init(id: pid_t) {
        self.id = id
    }

    /// Reads one pipe to its end, on a thread of its own.
    func collect(_ pipe: CInt, into part: any WritableKeyPath<State, [UInt8]> & Sendable) {
        state.withLock { $0.openPipes += 1 }
        DispatchQueue(label: "child-pipe").async { [self] in
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = unsafe buffer.withUnsafeMutableBytes { bytes in
                    unsafe read(pipe, bytes.baseAddress, bytes.count)
                }
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { break }
                change { $0[keyPath: part].append(contentsOf: buffer[..<count]) }
            }
            close(pipe)
            change { $0.openPipes -= 1 }
        }
    }

    /// Waits for the end, on a thread of its own.
    func reap() {
        DispatchQueue(label: "child-reap").async { [self] in
            var info = unsafe siginfo_t()
            // Look first and leave the number taken: nobody may signal a stranger meanwhile.
            while unsafe waitid(P_PID, id_t(id), &info, WEXITED | CInt(WNOWAIT)) == -1,
                errno == EINTR
            {}
            change { state in
                var status: CInt = 0
                _ = unsafe waitpid(id, &status, 0)
                let signal = status & 0x7F
                state.ending =
                    signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
            }
        }
    }

    /// Blocks until `condition` gives something; nil when the deadline passed first.
    func wait<Answer>(seconds: Int, _ condition: (State) -> Answer?) -> Answer? {
        let deadline = DispatchTime.now() + .seconds(seconds)
        let semaphore = DispatchSemaphore(value: 0)
        while true {
            let answer = state.withLock { state -> Answer? in
                if let answer = condition(state) { return answer }
                state.waiters.append(semaphore)
                return nil
            }
            if let answer { return answer }
            if semaphore.wait(timeout: deadline) == .timedOut { return nil }
        }
    }

    func waitForText(_ text: String, in part: KeyPath<State, [UInt8]>, seconds: Int) -> Bool {
        let wanted = Array(text.utf8)
        return wait(seconds: seconds) { state in
            if state[keyPath: part].contains(wanted) { return true }
            return state.openPipes == 0 ? false : nil
        } ?? false
    }

    private func change(_ body: (inout State) -> Void) {
        let waiters = state.withLock { state in
            body(&state)
            let waiters = state.waiters
            state.waiters = []
            return waiters
        }
        for waiter in waiters { waiter.signal() }
    }
}
