import Dispatch

/// Tells when one socket can be read or written, on one serial queue.
///
/// The seam between connections and the system's event mechanism. Every method must be called on
/// `queue` (checked, also in release); both handlers run there too. The descriptor is closed only
/// after the system has let go of it, so its number cannot come back under a handler.
///
/// From the first `resumeReading` or `armWriting` until `cancel`, the source keeps itself and its
/// handlers alive: whoever starts it must cancel it.
package final class ReadinessSource: @unchecked Sendable {
    // Sendable: confined to `queue`.

    /// One direction: suspended and resumed in balance, whatever the calls.
    private struct Direction {
        var source: (any DispatchSourceProtocol)?
        var isRunning = false
    }

    package let socket: Socket
    package let queue: SerialQueue
    private var onReadable: () -> Void
    private var onWritable: () -> Void
    private var reading = Direction()
    private var writing = Direction()
    private var openSources = 0
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
        if isCancelled || reading.isRunning { return }
        reading.isRunning = true
        if let source = reading.source {
            source.resume()
            return
        }
        let source = DispatchSource.makeReadSource(
            fileDescriptor: socket.descriptor, queue: queue.dispatchQueue
        )
        source.setEventHandler { [self] in
            // An event may be on its way while the owner suspends.
            if reading.isRunning && !isCancelled { onReadable() }
        }
        reading.source = start(source)
    }

    /// No `onReadable` until `resumeReading`: the kernel's buffer fills and slows the peer down.
    package func suspendReading() {
        queue.assertCurrent()
        if isCancelled || !reading.isRunning { return }
        reading.isRunning = false
        reading.source?.suspend()
    }

    /// Calls `onWritable` once, as soon as the socket takes bytes. Arming twice is arming once.
    package func armWriting() {
        queue.assertCurrent()
        if isCancelled || writing.isRunning { return }
        writing.isRunning = true
        if let source = writing.source {
            source.resume()
            return
        }
        let source = DispatchSource.makeWriteSource(
            fileDescriptor: socket.descriptor, queue: queue.dispatchQueue
        )
        source.setEventHandler { [self] in
            if !writing.isRunning || isCancelled { return }
            writing.isRunning = false
            writing.source?.suspend()
            onWritable()
        }
        writing.source = start(source)
    }

    /// Takes back `armWriting`.
    package func disarmWriting() {
        queue.assertCurrent()
        if isCancelled || !writing.isRunning { return }
        writing.isRunning = false
        writing.source?.suspend()
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
        if openSources == 0 {
            queue.execute { self.finish() }
            return
        }
        stop(&reading)
        stop(&writing)
    }

    private func start(
        _ source: some DispatchSourceProtocol
    ) -> any DispatchSourceProtocol {
        openSources += 1
        source.setCancelHandler { [self] in
            openSources -= 1
            if openSources == 0 { finish() }
        }
        source.activate()
        return source
    }

    /// A suspended source never runs its cancel handler, so it is resumed first.
    private func stop(_ direction: inout Direction) {
        guard let source = direction.source else { return }
        source.cancel()
        if !direction.isRunning { source.resume() }
        direction.isRunning = false
    }

    private func finish() {
        reading.source = nil
        writing.source = nil
        socket.close()
        isFinished = true
        let bodies = afterCancel
        afterCancel = []
        for body in bodies { body() }
    }
}
