import Glibc
import Synchronization

/// One file descriptor that is closed exactly once, by `close` or by the last reference.
///
/// Whoever closes must know that no other thread is inside a call with the number: after the close
/// the kernel may give the same number to another file. The owners in this module either drop
/// their last reference or close on the queue that does all the calls.
final class Descriptor: Sendable {
    private let number: Atomic<CInt>

    init(_ number: CInt) {
        self.number = Atomic(number)
    }

    deinit {
        let number = number.load(ordering: .relaxed)
        if number >= 0 { _ = Glibc.close(number) }
    }

    /// The number; -1 once closed, so that a late call fails with EBADF.
    var value: CInt { number.load(ordering: .acquiring) }

    /// Closes it the first time; false when it was closed before.
    ///
    /// Never repeated after EINTR: Linux has released the number by then.
    @discardableResult
    func close(_ subject: @autoclosure () -> String) throws(SystemError) -> Bool {
        let number = number.exchange(-1, ordering: .acquiringAndReleasing)
        guard number >= 0 else { return false }
        if Glibc.close(number) == -1, errno != EINTR {
            let code = errno
            throw SystemError(call: "close", code: code, subject: subject())
        }
        return true
    }
}
