import Glibc

/// Tells when one socket can be read or written, on an event loop. The loop's counterpart of
/// `ReadinessSource`, with the same promises.
///
/// Every method must be called on the loop (checked, also in release); both handlers run there too.
/// From the first `resumeReading` or `armWriting` until `cancel` the loop keeps it alive.
package final class LoopSource: @unchecked Sendable {
    // Sendable: confined to `loop`.

    package let socket: Socket
    /// Of sockets with news at the same time, it is told before those that need not come first.
    let comesFirst: Bool
    private let loop: EventLoop
    private var onReadable: () -> Void
    private var onWritable: () -> Void
    private var isReading = false
    private var isWriting = false
    private var isAdded = false
    private var isCancelled = false

    /// Watches nothing yet. May be called on any thread.
    package init(
        socket: Socket, loop: EventLoop, comesFirst: Bool = false,
        onReadable: @escaping () -> Void = {}, onWritable: @escaping () -> Void = {}
    ) {
        self.socket = socket
        self.comesFirst = comesFirst
        self.loop = loop
        self.onReadable = onReadable
        self.onWritable = onWritable
    }

    /// Calls `onReadable` again and again while there is something to read (or an end or error to
    /// be told), until `suspendReading`.
    package func resumeReading() {
        loop.assertCurrent()
        if isCancelled || isReading { return }
        isReading = true
        changed()
    }

    /// No `onReadable` until `resumeReading`: the kernel's buffer fills and slows the peer down.
    package func suspendReading() {
        loop.assertCurrent()
        if isCancelled || !isReading { return }
        isReading = false
        changed()
    }

    /// Calls `onWritable` once, as soon as the socket takes bytes. Arming twice is arming once.
    package func armWriting() {
        loop.assertCurrent()
        if isCancelled || isWriting { return }
        isWriting = true
        changed()
    }

    /// Ends both directions for ever, then closes the socket. No handler runs after this call.
    package func cancel() {
        loop.assertCurrent()
        if isCancelled { return }
        isCancelled = true
        // The handlers usually hold the owner: let go of it.
        onReadable = {}
        onWritable = {}
        if isAdded { loop.remove(self) }
        // A wait that still has the number cannot harm: what it finds comes here and is dropped.
        socket.close()
    }

    private func changed() {
        if isAdded {
            loop.interestChanged()
            return
        }
        isAdded = true
        loop.add(self)
        loop.interestChanged()
    }

    /// -1, which the wait passes over, while nothing is wanted.
    var descriptorToWatch: CInt { isReading || isWriting ? socket.descriptor : -1 }

    var wantedEvents: Int16 {
        Int16((isReading ? POLLIN : 0) | (isWriting ? POLLOUT : 0))
    }

    /// What the wait found. An error or a hang-up goes to whoever waits: the next call tells it.
    func happened(_ events: Int16) {
        if isCancelled { return }
        let found = CInt(events)
        let ended = found & (POLLERR | POLLHUP | POLLNVAL) != 0
        if isWriting, ended || found & POLLOUT != 0 {
            isWriting = false
            onWritable()
        }
        if isReading, ended || found & POLLIN != 0 { onReadable() }
    }
}
