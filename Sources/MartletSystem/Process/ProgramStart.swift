import Glibc

/// How programs are started: with this process's environment, and signals as a program expects them.
enum ProgramStart {
    /// - Parameter isQuiet: its streams are nobody's; else they are this process's.
    /// - Returns: the process id.
    static func spawn(
        _ path: String, _ arguments: [String], isQuiet: Bool = false
    ) throws(SystemError) -> pid_t {
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // What this process ignores or blocks is no business of the program.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        for number in [SIGINT, SIGQUIT, SIGPIPE, SIGXFSZ] { unsafe sigaddset(&signals, number) }
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for descriptor in isQuiet ? [0, 1, 2] : [] {
            unsafe posix_spawn_file_actions_addopen(
                &actions, CInt(descriptor), "/dev/null", O_RDWR, 0)
        }
        var copies = unsafe arguments.map { unsafe strdup($0) }
        unsafe copies.append(nil)
        defer { unsafe copies.forEach { unsafe free($0) } }
        var id: pid_t = 0
        let code = unsafe posix_spawn(&id, path, &actions, &attributes, &copies, environ)
        if code != 0 { throw SystemError(call: "posix_spawn", code: code, subject: path) }
        return id
    }

    /// Blocks until it has ended. Returns what `wait` says of it.
    static func wait(for id: pid_t, _ path: String) throws(SystemError) -> CInt {
        var status: CInt = 0
        try SystemCall.check("waitpid", path) { unsafe waitpid(id, &status, 0) }
        return status
    }
}

/// A copy of this program as a process of its own, without streams.
package struct OwnCopy: Sendable {
    private static let path = "/proc/self/exe"
    private let id: pid_t

    /// Starts it.
    package init(_ arguments: [String]) throws(SystemError) {
        id = try ProgramStart.spawn(Self.path, ["martlet"] + arguments, isQuiet: true)
    }

    /// Ends it at once, as `kill -9` does.
    package func kill() { _ = Glibc.kill(id, SIGKILL) }

    /// Blocks until it has ended.
    package func wait() throws(SystemError) { _ = try ProgramStart.wait(for: id, Self.path) }
}
