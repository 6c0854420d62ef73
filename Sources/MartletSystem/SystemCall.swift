import Glibc

/// The rules that every system call of this module follows: calls broken off by a signal are
/// repeated, a failure becomes a `SystemError` before anything else can overwrite `errno`.
enum SystemCall {
    /// Runs `call` until it is not interrupted.
    static func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
        while true {
            let result = call()
            if result != -1 || errno != EINTR { return result }
        }
    }

    /// Runs `call` until it is not interrupted; throws when it answers -1.
    @discardableResult
    static func check<Result: SignedInteger>(
        _ name: String,
        _ subject: @autoclosure () -> String = "",
        _ call: () -> Result
    ) throws(SystemError) -> Result {
        let result = retrying(call)
        if result == -1 {
            let code = errno
            throw SystemError(call: name, code: code, subject: subject())
        }
        return result
    }

    /// Moves `count` bytes with calls that may move fewer: `step` gets the bytes done so far.
    ///
    /// Ends early when a step moves nothing (the end of a file), and returns the bytes moved.
    static func transferAll(
        _ count: Int,
        _ step: (Int) throws(SystemError) -> Int
    ) throws(SystemError) -> Int {
        var done = 0
        while done < count {
            let moved = try step(done)
            if moved <= 0 { break }
            done += moved
        }
        return done
    }
}
