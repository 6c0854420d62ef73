/// Tells when one socket can be read or written, on one serial queue.
///
/// The seam between connections and the system's event mechanism. Every method must be called on
/// `queue` (checked, also in release); both handlers run there too. The descriptor is closed only
/// after nothing watches it any more, so its number cannot come back under a handler.
///
/// From the first `resumeReading` or `armWriting` until `cancel`, the source keeps itself and its
/// handlers alive: whoever starts it must cancel it.
package final class ReadinessSource: @unchecked Sendable {
    // Sendable: confined to `queue`.

    package let socket: Socket
    package let queue: SerialQueue
    private var onReadable: () -> Void
    private var onWritable: () -> Void
    private var interest: Interest = []
    private var place: (poller: Poller, slot: Int)?
    private var isCancelled = false
    private var isFinished = false
    private var afterCancel: [() -> Void] = []

    /// Watches nothing yet. May be called on any thread.
    package init(
        socket: Socket, queue: SerialQueue, onReadable: @escaping () -> Void = {},
        onWritable: @escaping () -> Void = {}
    ) {
        self.socket = socket
        self.queue = queue
        self.onReadable = onReadable
        self.onWritable = onWritable
    }

    /// For an owner whose handlers need the owner itself.
    package func setHandlers(
        onReadable: @escaping () -> Void, onWritable: @escaping () -> Void
    ) {
        queue.assertCurrent()
        if isCancelled { return }
        self.onReadable = onReadable
        self.onWritable = onWritable
    }

    /// Calls `onReadable` again and again while there is something to read (or an end or error to
    /// be told), until `suspendReading`.
    package func resumeReading() {
        queue.assertCurrent()
        watch(interest.union(.reading))
    }

    /// No `onReadable` until `resumeReading`: the kernel's buffer fills and slows the peer down.
    package func suspendReading() {
        queue.assertCurrent()
        watch(interest.subtracting(.reading))
    }

    /// Calls `onWritable` once, as soon as the socket takes bytes. Arming twice is arming once.
    package func armWriting() {
        queue.assertCurrent()
        watch(interest.union(.writing))
    }

    /// Takes back `armWriting`.
    package func disarmWriting() {
        queue.assertCurrent()
        watch(interest.subtracting(.writing))
    }

    /// Ends both directions for ever, then closes the socket, then calls `body` on the queue.
    ///
    /// No handler runs after this call, not even one that was under way to the queue. Cancelling
    /// again only adds another `body`.
    package func cancel(then body: @escaping @Sendable () -> Void = {}) {
        queue.assertCurrent()
        if isFinished {
            queue.execute(body)
            return
        }
        afterCancel.append(body)
        if isCancelled { return }
        isCancelled = true
        // The handlers usually hold the owner: let go of it.
        onReadable = {}
        onWritable = {}
        if let place { place.poller.leave(place.slot, socket.descriptor, watched: interest) }
        place = nil
        queue.execute { self.finish() }
    }

    private func watch(_ wanted: Interest) {
        if isCancelled || wanted == interest { return }
        do {
            let place = try enter()
            try place.poller.watch(socket.descriptor, place.slot, from: interest, to: wanted)
            interest = wanted
        } catch {
            // A socket that the system cannot watch is ended: its owner learns it by the next call.
            socket.abandon()
            queue.execute { self.tell(wanted) }
        }
    }

    private func enter() throws(SystemError) -> (poller: Poller, slot: Int) {
        if let place { return place }
        let poller = try queue.poller()
        let place = (poller, poller.enter(self))
        self.place = place
        return place
    }

    /// An error or a hang-up goes to whoever waits: the next call on the socket tells it.
    func happened(_ found: Interest) {
        tell(found.contains(.ended) ? interest : found.intersection(interest))
    }

    private func tell(_ events: Interest) {
        if events.contains(.writing), !isCancelled {
            disarmWriting()
            onWritable()
        }
        if events.contains(.reading), !isCancelled { onReadable() }
    }

    private func finish() {
        socket.close()
        isFinished = true
        let bodies = afterCancel
        afterCancel = []
        for body in bodies { body() }
    }
}
