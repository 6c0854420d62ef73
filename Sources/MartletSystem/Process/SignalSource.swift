import Dispatch
import Glibc

/// Calls a handler on a queue for each arrival of one signal, in place of what the signal does by
/// default. Several arrivals in a row may be one call.
package final class SignalSource: @unchecked Sendable {
    // Sendable: nothing changes after init but by `cancel`, which any thread may call.

    /// The signals that the programs answer to.
    package enum Kind: Sendable, CaseIterable {
        /// SIGTERM: the service manager asks for the end.
        case terminate
        /// SIGINT: the user pressed Ctrl-C.
        case interrupt
        /// SIGHUP: read the configuration again.
        case hangUp

        package var number: CInt {
            switch self {
            case .terminate: SIGTERM
            case .interrupt: SIGINT
            case .hangUp: SIGHUP
            }
        }
    }

    package let kind: Kind
    private let source: any DispatchSourceSignal

    /// Returns once no arrival can be lost. Make it before telling anybody that the process is up,
    /// and keep it. Must not be called on `queue`.
    package init(_ kind: Kind, queue: SerialQueue, handler: @escaping @Sendable () -> Void) {
        precondition(!queue.isCurrent, "waits for the queue")
        self.kind = kind
        // Until Dispatch has put its own handler in place, the signal must not end the process.
        signal(kind.number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(
            signal: kind.number, queue: queue.dispatchQueue
        )
        let isRegistered = DispatchSemaphore(value: 0)
        source.setRegistrationHandler { isRegistered.signal() }
        source.setEventHandler { handler() }
        source.activate()
        isRegistered.wait()
        self.source = source
    }

    deinit {
        source.cancel()
    }
}
