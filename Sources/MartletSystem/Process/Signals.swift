import Glibc

/// Signals that would end the process where an error from the call is what we want.
package enum Signals {
    /// A write to a connection or pipe whose reader is gone fails with EPIPE instead.
    package static func ignoreBrokenPipe() {
        _ = brokenPipe
    }

    /// A write above the process's file size limit fails with EFBIG instead.
    package static func ignoreFileSizeLimit() {
        _ = fileSizeLimit
    }

    // Lazy globals run once, whoever comes first. A handler that the program installed stays.
    private static let brokenPipe: Void = ignoreUnlessHandled(SIGPIPE)
    private static let fileSizeLimit: Void = ignoreUnlessHandled(SIGXFSZ)

    private static func ignoreUnlessHandled(_ number: CInt) {
        var action = sigaction()
        guard unsafe sigaction(number, nil, &action) == 0 else { return }
        let isDefault = unsafe action.__sigaction_handler.sa_handler == nil
        if isDefault { signal(number, SIG_IGN) }
    }
}
