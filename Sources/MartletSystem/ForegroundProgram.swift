import Glibc

/// A program that the terminal is left to while it runs: an editor.
package enum ForegroundProgram {
    /// Runs a line of the shell with this process's streams and environment, and waits for its end.
    /// Ctrl-C is the program's own meanwhile. Blocks.
    ///
    /// - Parameter arguments: what the line calls `$1` and so on.
    /// - Returns: its exit status; 128 and more when a signal ended it, as a shell says it.
    package static func run(shell line: String, _ arguments: [String]) throws(SystemError) -> Int32
    {
        let shell = "/bin/sh"
        let interrupt = signal(SIGINT, SIG_IGN)
        let quit = signal(SIGQUIT, SIG_IGN)
        defer {
            signal(SIGINT, interrupt)
            signal(SIGQUIT, quit)
        }
        let id = try spawn(shell, [shell, "-c", line, shell] + arguments)
        var status: CInt = 0
        try SystemCall.check("waitpid", shell) { unsafe waitpid(id, &status, 0) }
        // The macros of wait.h: the low seven bits are the signal, the next eight the exit status.
        let signalNumber = status & 0x7F
        return signalNumber == 0 ? status >> 8 & 0xFF : 128 + signalNumber
    }

    private static func spawn(
        _ path: String, _ arguments: [String]
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
        var copies = unsafe arguments.map { unsafe strdup($0) }
        unsafe copies.append(nil)
        defer { unsafe copies.forEach { unsafe free($0) } }
        var id: pid_t = 0
        let code = unsafe posix_spawn(&id, path, nil, &attributes, &copies, environ)
        if code != 0 { throw SystemError(call: "posix_spawn", code: code, subject: path) }
        return id
    }
}
