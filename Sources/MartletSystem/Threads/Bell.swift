import CMartletShim
import Glibc

/// Wakes a thread that waits for descriptors: an eventfd among them.
struct Bell: Sendable {
    private let descriptor: Descriptor

    init() throws(SystemError) {
        descriptor = Descriptor(try SystemCall.check("eventfd") { martlet_eventfd() })
    }

    /// What to wait for: readable while the bell rings.
    var number: CInt { descriptor.value }

    /// Any thread. Rings until it is silenced.
    func ring() {
        var one: UInt64 = 1
        // EAGAIN means that the bell rings already.
        _ = SystemCall.retrying { unsafe write(number, &one, 8) }
    }

    func silence() {
        var count: UInt64 = 0
        _ = SystemCall.retrying { unsafe read(number, &count, 8) }
    }
}
