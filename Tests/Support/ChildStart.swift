import Glibc
import MartletSystem

/// The start of one child: pipes, `posix_spawn`, and nothing of the parent that it should not have.
struct ChildStart {
    struct Started {
        let id: pid_t
        let input: CInt
        let output: CInt
        let error: CInt
    }

    private struct Pipe {
        let reading: CInt
        let writing: CInt

        init() throws(SystemError) {
            var ends: (CInt, CInt) = (-1, -1)
            let result = unsafe withUnsafeMutableBytes(of: &ends) { bytes in
                unsafe pipe(bytes.bindMemory(to: CInt.self).baseAddress)
            }
            if result == -1 { throw SystemError(call: "pipe", code: errno) }
            reading = ends.0
            writing = ends.1
            for end in [reading, writing] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        }

        func close() {
            _ = Glibc.close(reading)
            _ = Glibc.close(writing)
        }
    }

    let executable: String
    let arguments: [String]
    let environment: [String]

    func run() throws(SystemError) -> Started {
        var pipes: [Pipe] = []
        do throws(SystemError) {
            for _ in 0..<3 { pipes.append(try Pipe()) }
            let id = try spawn(pipes[0].reading, pipes[1].writing, pipes[2].writing)
            _ = Glibc.close(pipes[0].reading)
            _ = Glibc.close(pipes[1].writing)
            _ = Glibc.close(pipes[2].writing)
            return Started(
                id: id, input: pipes[0].writing, output: pipes[1].reading, error: pipes[2].reading
            )
        } catch {
            for pipe in pipes { pipe.close() }
            throw error
        }
    }

    private func spawn(
        _ input: CInt, _ output: CInt, _ error: CInt
    ) throws(SystemError) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, input, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, output, 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, error, 2)

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // What the test process ignores or blocks is no business of the child.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        for number in [SIGPIPE, SIGXFSZ, SIGTERM, SIGINT, SIGHUP] {
            unsafe sigaddset(&signals, number)
        }
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

        var id: pid_t = 0
        let code = unsafe Self.withCStrings(arguments) { arguments in
            unsafe Self.withCStrings(environment) { environment in
                unsafe posix_spawn(&id, executable, &actions, &attributes, arguments, environment)
            }
        }
        if code != 0 { throw SystemError(call: "posix_spawn", code: code, subject: executable) }
        return id
    }

    private static func withCStrings<Result>(
        _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var copies = unsafe texts.map { unsafe strdup($0) }
        unsafe copies.append(nil)
        defer { unsafe copies.forEach { unsafe free($0) } }
        return unsafe copies.withUnsafeBufferPointer { list in
            guard let base = list.baseAddress else { preconditionFailure("has its last entry") }
            return unsafe body(base)
        }
    }
}
