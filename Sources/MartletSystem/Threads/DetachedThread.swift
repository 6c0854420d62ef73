import CMartletShim
import Glibc

/// Threads that end by themselves.
package enum DetachedThread {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a thread that runs `body` and holds what it holds until then.
    package static func start(_ label: String, _ body: @escaping @Sendable () -> Void) {
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let argument = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
        let start: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
            guard let argument = unsafe $0 else { return nil }
            unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }
        let result = unsafe pthread_create(&thread, &attributes, start, argument)
        // Only at the start of a broker or a client, and neither is anything without its threads.
        precondition(result == 0, "no thread for \(label): error \(result)")
        unsafe pthread_attr_destroy(&attributes)
    }
}
