import Glibc

/// How a process ends.
extension CurrentProcess {
    /// Ends the process at once as if it had no handler for the signal, so that whoever waits for
    /// it learns that it did not end in order.
    package static func end(by kind: SignalSource.Kind) -> Never {
        signal(kind.number, SIG_DFL)
        var unblocked = sigset_t()
        unsafe sigemptyset(&unblocked)
        unsafe sigaddset(&unblocked, kind.number)
        unsafe pthread_sigmask(SIG_UNBLOCK, &unblocked, nil)
        raise(kind.number)
        // Process 1 of a container is not ended by a signal that it does not handle.
        exitNow(128 + kind.number)
    }
}

extension SignalSource.Kind {
    /// As people write it.
    package var name: String {
        switch self {
        case .terminate: "SIGTERM"
        case .interrupt: "SIGINT"
        case .hangUp: "SIGHUP"
        }
    }
}
