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
        let id = try ProgramStart.spawn(shell, [shell, "-c", line, shell] + arguments)
        let status = try ProgramStart.wait(for: id, shell)
        // The macros of wait.h: the low seven bits are the signal, the next eight the exit status.
        let signalNumber = status & 0x7F
        return signalNumber == 0 ? status >> 8 & 0xFF : 128 + signalNumber
    }
}
