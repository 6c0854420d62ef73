import Glibc

/// A failed system call: which call, on what, and the `errno` it left.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Name of the C function, as in the manual.
    package let call: String
    /// The value of `errno`.
    package let code: CInt
    /// The file or address that the call was about, if any.
    package let subject: String

    package init(call: String, code: CInt, subject: String = "") {
        self.call = call
        self.code = code
        self.subject = subject
    }

    /// The disk or the quota is full: ENOSPC, EDQUOT (and EFBIG, the process's own file limit).
    package var isNoSpace: Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }
    /// The name of a host has no address, or none is to be had now.
    package var isUnknownHost: Bool { call == "getaddrinfo" && code == EADDRNOTAVAIL }
    package var isNotFound: Bool { code == ENOENT }
    package var isAlreadyThere: Bool { code == EEXIST }
    /// No free descriptor in the process (EMFILE) or the system (ENFILE).
    package var isTooManyFiles: Bool { code == EMFILE || code == ENFILE }

    package var description: String {
        let text = unsafe String(cString: strerror(code))
        return subject.isEmpty ? "\(call): \(text)" : "\(call) \(subject): \(text)"
    }
}

extension SystemError {
    /// The other side of a connection is gone: the end of that connection and of nothing else.
    package var isDisconnect: Bool {
        switch code {
        case EPIPE, ECONNRESET, ECONNABORTED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN,
            ENETRESET, EHOSTDOWN, ENOTCONN:
            true
        default: false
        }
    }
}
