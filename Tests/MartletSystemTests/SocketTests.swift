import Glibc
import MartletSystem
import MartletTestSupport
import Testing

@Suite struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1:7700", "127.0.0.1:7700", true), ("[::1]:0", "[::1]:0", true),
        ("0.0.0.0:1", "0.0.0.0:1", false), ("[::]:65535", "[::]:65535", false),
        ("[2001:db8::7]:80", "[2001:db8::7]:80", false), ("127.8.9.10:5", "127.8.9.10:5", true),
        ("[::ffff:127.0.0.1]:9", "[::ffff:127.0.0.1]:9", true),
        ("128.0.0.1:5", "128.0.0.1:5", false),
    ])
    func `reads and shows an address`(text: String, shown: String, isLoopback: Bool) throws {
        let address = try SocketAddress(parsing: text)
        #expect(address.description == shown)
        #expect(address.isLoopback == isLoopback)
        let again = unsafe address.withSockaddr { unsafe SocketAddress($0, length: $1) }
        #expect(again == address)
        // A length that cannot hold an address of the family is refused.
        #expect(unsafe address.withSockaddr { unsafe SocketAddress($0, length: $1 - 1) } == nil)
    }

    @Test func `names are looked up`() throws {
        let address = try SocketAddress(parsing: "localhost:7700")
        #expect(address.isLoopback)
        #expect(address.port == 7700)
        #expect(try SocketAddress.resolve("localhost:1").allSatisfy { $0.isLoopback })
    }

    @Test(arguments: [
        "", ":", "localhost", "localhost:", ":7700", "localhost:70000", "localhost:-1", "::1:80",
        "[::1]", "[]:80", "127.0.0.1:http", "a\0b:1", "1.2.3.4:+5",
    ])
    func `refuses what is no host and port`(text: String) {
        #expect(failure { _ = try SocketAddress(parsing: text) } != nil)
    }
}

@Suite struct SocketTests {
    @Test func `bytes go both ways and the end is seen`() throws {
        let (left, right) = try SocketPair.make()
        #expect(try left.receive(10).0 == .wouldBlock)
        #expect(try left.send([1, 2, 3]) == .count(3))
        #expect(try right.awaitBytes(3) == [1, 2, 3])
        let pieces: [[UInt8]] = [[4], [], [5, 6]]
        #expect(try right.send(pieces: pieces) == .count(3))
        #expect(try left.awaitBytes(3) == [4, 5, 6])
        #expect(try right.send(pieces: []) == .count(0))
        try left.shutdownSending()
        #expect(try right.awaitEnd())
        #expect(try right.send([7]) == .count(1))
        #expect(try left.awaitBytes(1) == [7])
        left.close()
        left.close()
        #expect(left.descriptor == -1)
        #expect(failure { _ = try left.send([1]) }?.code == EBADF)
    }

    @Test(arguments: ["127.0.0.1:0", "[::1]:0"])
    func `addresses of both ends agree`(text: String) throws {
        let listener = try Socket.listen(on: SocketAddress(parsing: text))
        let address = try listener.localAddress()
        #expect(address.port != 0)
        let client = try Socket.connect(to: address)
        let (server, peer) = try listener.awaitConnection()
        #expect(try client.localAddress() == peer)
        #expect(try server.peerAddress() == peer)
        #expect(try client.peerAddress() == address)
        #expect(fcntl(server.descriptor, F_GETFD) & FD_CLOEXEC != 0)
        #expect(fcntl(server.descriptor, F_GETFL) & O_NONBLOCK != 0)
    }

    @Test func `a port is taken once and free again after close`() throws {
        let address = try SocketAddress(parsing: "127.0.0.1:0")
        let first = try Socket.listen(on: address)
        let taken = try first.localAddress()
        #expect(failure { _ = try Socket.listen(on: taken) }?.code == EADDRINUSE)
        first.close()
        _ = try Socket.listen(on: taken)
    }

    @Test func `nobody listening is an error of finishConnect`() throws {
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let address = try listener.localAddress()
        listener.close()
        let error = failure {
            let socket = try Socket.connect(to: address)
            socket.awaitWritable()
            try socket.finishConnect()
        }
        #expect(error?.code == ECONNREFUSED)
    }

    @Test func `writing to a reset peer is an error, not a signal`() throws {
        let (left, right) = try SocketPair.make()
        try right.resetOnClose()
        right.close()
        left.awaitReadable()
        #expect(failure { _ = try left.receive(1) }?.isDisconnect == true)
        for _ in 0..<3 {
            #expect(failure { _ = try left.send([1]) }?.isDisconnect == true)
            #expect(failure { _ = try left.send(pieces: [[1]]) }?.isDisconnect == true)
            let folder = try TemporaryDirectory("reset")
            let file = try PosixFileSystem().open(folder.path("f"), .createNew)
            try file.write([1, 2, 3], at: 0)
            let number = try #require(file.descriptor)
            let error = failure { _ = try left.sendFile(from: number, at: 0, count: 3) }
            #expect(error?.isDisconnect == true)
        }
        try left.shutdown()
    }

    @Test func `sendfile goes on after partial sends and stops at the end of the file`() throws {
        var random = SeededRandom(seed: 7)
        let content = random.bytes(3_000_000)
        let folder = try TemporaryDirectory("sendfile")
        let file = try PosixFileSystem().open(folder.path("f"), .createNew)
        try file.write(content, at: 0)
        let number = try #require(file.descriptor)

        let (left, right) = try SocketPair.make()
        try left.setBufferSizes(send: 16_384, receive: nil)
        var position = 1_000
        var partial = 0
        var received: [UInt8] = []
        while received.count < content.count - 1_000 {
            let wanted = content.count - position
            switch try left.sendFile(from: number, at: Int64(position), count: wanted) {
            case .count(let moved):
                if wanted > 0 && moved < wanted { partial += 1 }
                position += moved
            case .wouldBlock: break
            case .endOfStream: Issue.record("the file does not end here")
            }
            received += try right.receive(1 << 20).1
        }
        #expect(partial > 0)
        let isSame = received == Array(content[1_000...])
        #expect(isSame)
        #expect(
            try left.sendFile(from: number, at: Int64(content.count), count: 5) == .endOfStream)
        #expect(try left.sendFile(from: number, at: 0, count: 0) == .count(0))
    }

    @Test func `a full buffer would block, and thousands of pieces are cut`() throws {
        let (left, right) = try SocketPair.make()
        let pieces = [[UInt8]](repeating: [1], count: 3_000)
        #expect(try left.send(pieces: pieces) == .count(1_024))
        #expect(try right.awaitBytes(1_024).count == 1_024)
        let block = [UInt8](repeating: 2, count: 1 << 20)
        var sent = 0
        while case .count(let moved) = try left.send(block) { sent += moved }
        #expect(sent > 0)
        #expect(try right.awaitBytes(sent).count == sent)
        #expect(try left.send([9]) == .count(1))
    }

    @Test func `keep-alive settings are taken`() throws {
        let (left, _) = try SocketPair.make()
        try left.setKeepAlive(
            idleSeconds: 30, intervalSeconds: 5, probes: 3, userTimeoutMilliseconds: 20_000)
    }

    @Test func `the spare descriptor refuses one waiting connection`() throws {
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let reserve = try DescriptorReserve()
        #expect(!reserve.refuseOne(of: listener))
        let client = try Socket.connect(to: listener.localAddress())
        listener.awaitReadable()
        #expect(reserve.refuseOne(of: listener))
        #expect(try client.awaitEnd())
        #expect(!reserve.refuseOne(of: listener))
    }
}
