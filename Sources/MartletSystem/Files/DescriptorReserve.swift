import Glibc
import Synchronization

/// One descriptor kept aside for the moment when the process has none left.
///
/// Without it a listener that cannot accept stays ready for ever and spins. With it the waiting
/// connection is taken and closed, so that the peer learns about it at once.
package final class DescriptorReserve: Sendable {
    private let spare: Mutex<Descriptor?>

    package init() throws(SystemError) {
        spare = Mutex(try Self.open())
    }

    /// Takes one waiting connection of `listener` and closes it.
    ///
    /// Returns false when nothing was waiting, or when another thread was faster and took the
    /// descriptor that was set free: pause accepting for a while then.
    package func refuseOne(of listener: Socket) -> Bool {
        spare.withLock { spare in
            spare = nil
            var didRefuse = false
            do {
                // The connection closes with its only reference, at the end of this scope.
                if case .connection = try listener.accept() { didRefuse = true }
                spare = try Self.open()
            } catch {
                // Still no descriptor. The next call tries to put one aside again.
            }
            return didRefuse
        }
    }

    private static func open() throws(SystemError) -> Descriptor {
        Descriptor(
            try SystemCall.check("open", "/dev/null") {
                unsafe Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
            }
        )
    }
}
