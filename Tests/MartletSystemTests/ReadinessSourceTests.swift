import Glibc
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

/// Echoes what it gets, reading only while little is waiting to be sent.
private final class EchoConnection: @unchecked Sendable {
    // Sendable: confined to the source's queue.
    private let source: ReadinessSource
    private var pending: [UInt8] = []
    private var isEnding = false
    private let limit: Int
    let closed: Latch
    let suspended: Latch

    init(_ socket: Socket, _ queue: SerialQueue, limit: Int, closed: Latch, suspended: Latch) {
        source = ReadinessSource(socket: socket, queue: queue)
        self.limit = limit
        self.closed = closed
        self.suspended = suspended
    }

    func start() {
        source.setHandlers(onReadable: { self.read() }, onWritable: { self.flush() })
        source.resumeReading()
    }

    private func read() {
        do {
            let (result, bytes) = try source.socket.receive(16_384)
            pending += bytes
            if result == .endOfStream { isEnding = true }
            flush()
        } catch {
            end()
        }
    }

    private func flush() {
        do {
            while !pending.isEmpty {
                guard case .count(let moved) = try source.socket.send(pending) else {
                    source.armWriting()
                    break
                }
                pending.removeFirst(moved)
            }
        } catch {
            return end()
        }
        if isEnding && pending.isEmpty {
            end()
        } else if isEnding {
            source.suspendReading()
        } else if pending.count > limit {
            suspended.arrive()
            source.suspendReading()
        } else {
            source.resumeReading()
        }
    }

    private func end() {
        source.cancel { self.closed.arrive() }
    }
}

@Suite struct ReadinessSourceTests {
    @Test(arguments: [1, 20])
    func `echo with back-pressure returns every byte`(clients: Int) throws {
        let server = try EchoServer(clients: clients)
        let done = Latch(clients)
        for client in 0..<clients {
            let socket = try Socket.connect(to: server.address)
            socket.awaitWritable()
            try socket.setBufferSizes(send: nil, receive: 131_072)
            let content = {
                var random = SeededRandom(seed: UInt64(client))
                return random.bytes(clients == 1 ? 8_000_000 : 400_000)
            }()
            SerialQueue(label: "writer").execute {
                let error = failure {
                    var rest = content[...]
                    while !rest.isEmpty {
                        if case .count(let moved) = try socket.send(Array(rest.prefix(65_536))) {
                            rest = rest.dropFirst(moved)
                        } else {
                            socket.awaitWritable()
                        }
                    }
                    try socket.shutdownSending()
                }
                #expect(error == nil)
            }
            SerialQueue(label: "reader").execute {
                // One client reads only when the echo is stuck: it sends more than kernels hold.
                if clients == 1 { #expect(server.suspended.wait()) }
                let error = failure {
                    let received = try socket.awaitBytes(content.count)
                    let isSame = received == content
                    #expect(isSame)
                }
                #expect(error == nil)
                done.arrive()
            }
        }
        #expect(done.wait())
        #expect(server.closed.wait())
        server.stop()
    }

    @Test func `suspended reading is silent and resumed reading catches up`() throws {
        let (left, right) = try SocketPair.make()
        let queue = SerialQueue(label: "io")
        let seen = Counter()
        let got = Latch()
        let source = ReadinessSource(socket: left, queue: queue)
        try queue.run {
            source.setHandlers(
                onReadable: {
                    seen.add()
                    source.suspendReading()
                    got.arrive()
                }, onWritable: {})
            source.resumeReading()
            source.suspendReading()
            source.suspendReading()
        }
        #expect(try right.send([1, 2]) == .count(2))
        left.awaitReadable()
        try queue.run {}
        #expect(seen.value == 0)
        try queue.run { source.resumeReading() }
        #expect(got.wait())
        try queue.run {}
        #expect(seen.value == 1)
        let closed = Latch()
        try queue.run { source.cancel { closed.arrive() } }
        #expect(closed.wait())
    }

    @Test func `armed writing fires once`() throws {
        let (left, _) = try SocketPair.make()
        let queue = SerialQueue(label: "io")
        let count = Counter()
        let fired = Latch()
        let again = Latch(2)
        let source = ReadinessSource(
            socket: left, queue: queue,
            onWritable: {
                count.add()
                fired.arrive()
                again.arrive()
            })
        try queue.run {
            source.armWriting()
            source.armWriting()
        }
        #expect(fired.wait())
        for _ in 0..<20 { try queue.run {} }
        #expect(count.value == 1)
        try queue.run { source.armWriting() }
        #expect(again.wait())
        try queue.run {
            source.armWriting()
            source.disarmWriting()
            source.cancel()
        }
        for _ in 0..<20 { try queue.run {} }
        #expect(count.value == 2)
    }

    @Test func `a peer's reset wakes the reader`() throws {
        let (left, right) = try SocketPair.make()
        let queue = SerialQueue(label: "io")
        let ended = Latch()
        let source = ReadinessSource(socket: left, queue: queue)
        try queue.run {
            source.setHandlers(
                onReadable: {
                    #expect(failure { _ = try left.receive(1) }?.isDisconnect == true)
                    source.cancel { ended.arrive() }
                }, onWritable: {})
            source.resumeReading()
        }
        try right.resetOnClose()
        right.close()
        #expect(ended.wait())
        #expect(left.descriptor == -1)
    }

    /// Dispatch's own socket sources end the process here now and then (see `Poller`).
    @Test func `resets of sockets that are only read harm nobody`() throws {
        let queue = SerialQueue(label: "io")
        for _ in 0..<40 {
            let pairs = try (0..<25).map { _ in try SocketPair.make() }
            let ended = Latch(pairs.count)
            try queue.run {
                for (left, _) in pairs {
                    let source = ReadinessSource(socket: left, queue: queue)
                    source.setHandlers(
                        onReadable: {
                            #expect(failure { _ = try left.receive(1) }?.isDisconnect == true)
                            source.cancel { ended.arrive() }
                        }, onWritable: {})
                    source.resumeReading()
                }
            }
            for (_, right) in pairs {
                try right.resetOnClose()
                right.close()
            }
            #expect(ended.wait())
        }
    }

    @Test func `a socket that cannot be watched is ended`() throws {
        let (left, right) = try SocketPair.make()
        let queue = SerialQueue(label: "io")
        let told = Latch()
        let source = ReadinessSource(socket: left, queue: queue)
        left.close()
        try queue.run {
            source.setHandlers(onReadable: { source.cancel { told.arrive() } }, onWritable: {})
            source.resumeReading()
        }
        #expect(told.wait())
        #expect(try right.awaitEnd())
    }

    @Test func `cancel tells everybody who asks, and closes once`() throws {
        let (left, right) = try SocketPair.make()
        let queue = SerialQueue(label: "io")
        let told = Latch(3)
        let source = ReadinessSource(socket: left, queue: queue)
        try queue.run {
            source.cancel {
                #expect(queue.isCurrent)
                #expect(left.descriptor == -1)
                told.arrive()
                source.cancel { told.arrive() }
            }
            source.cancel { told.arrive() }
            source.resumeReading()
            source.armWriting()
        }
        #expect(told.wait())
        #expect(try right.awaitEnd())
    }

    @Test(arguments: 0..<60)
    func `any order of calls stays in balance`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let queue = SerialQueue(label: "io")
        let (left, right) = try SocketPair.make()
        let afterCancel = Counter()
        let cancels = Counter()
        let note: @Sendable () -> Void = {
            if cancels.value > 0 { afterCancel.add() }
        }
        var source: ReadinessSource? = ReadinessSource(
            socket: left, queue: queue, onReadable: note, onWritable: note)
        let closed = Latch()
        for _ in 0..<random.below(40) {
            let step = random.below(6)
            try queue.run { [source] in
                switch step {
                case 0: source?.resumeReading()
                case 1: source?.suspendReading()
                case 2: source?.armWriting()
                case 3: source?.disarmWriting()
                case 4: _ = try right.send([1])
                default: _ = try left.receive(10)
                }
            }
        }
        try queue.run { [source] in
            cancels.add()
            source?.cancel { closed.arrive() }
        }
        source = nil
        #expect(closed.wait())
        #expect(left.descriptor == -1)
        #expect(afterCancel.value == 0)
    }
}

/// Accepts and echoes on two shared queues.
private final class EchoServer: Sendable {
    let address: SocketAddress
    let closed: Latch
    let suspended = Latch()
    private let listener: ReadinessSource
    private let queue = SerialQueue(label: "accept")

    init(clients: Int) throws {
        let socket = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        address = try socket.localAddress()
        closed = Latch(clients)
        let queues = [SerialQueue(label: "io-0"), SerialQueue(label: "io-1")]
        let listener = ReadinessSource(socket: socket, queue: queue)
        self.listener = listener
        let closed = closed
        let suspended = suspended
        let next = Counter()
        try queue.run {
            listener.setHandlers(
                onReadable: {
                    let error = failure {
                        while case .connection(let socket, _) = try listener.socket.accept() {
                            try socket.setBufferSizes(send: 131_072, receive: nil)
                            let queue = queues[next.value % 2]
                            next.add()
                            let echo = EchoConnection(
                                socket, queue, limit: 50_000, closed: closed,
                                suspended: suspended)
                            queue.execute { echo.start() }
                        }
                    }
                    #expect(error == nil)
                }, onWritable: {})
            listener.resumeReading()
        }
    }

    func stop() {
        let done = Latch()
        queue.execute { self.listener.cancel { done.arrive() } }
        #expect(done.wait())
    }
}

extension SerialQueue {
    /// Runs something on the queue and waits for it.
    fileprivate func run(_ body: @escaping @Sendable () throws -> Void) throws {
        let outcome = Outcome()
        let done = Latch()
        execute {
            outcome.result.withLock { $0 = Result { try body() } }
            done.arrive()
        }
        #expect(done.wait())
        try outcome.result.withLock { $0 }?.get()
    }
}

/// A box, because a local lock cannot be captured.
private final class Outcome: Sendable {
    let result = Mutex<Result<Void, any Error>?>(nil)
}
