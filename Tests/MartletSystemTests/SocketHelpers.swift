import Glibc
import MartletSystem
import Testing

/// Two connected sockets over loopback.
enum SocketPair {
    static func make() throws -> (Socket, Socket) {
        let listener = try Socket.listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        let left = try Socket.connect(to: listener.localAddress())
        let (right, _) = try listener.awaitConnection()
        left.awaitWritable()
        try left.finishConnect()
        return (left, right)
    }
}

extension Socket {
    func send(_ bytes: [UInt8]) throws(SystemError) -> IOResult {
        try unsafe bytes.span.withUnsafeBytes { buffer throws(SystemError) in
            try unsafe send(buffer)
        }
    }

    func send(pieces: [[UInt8]]) throws(SystemError) -> IOResult {
        let flat = pieces.flatMap { $0 }
        return try unsafe flat.span.withUnsafeBytes { buffer throws(SystemError) in
            var start = 0
            var list = unsafe [UnsafeRawBufferPointer]()
            for piece in pieces {
                let range = start..<(start + piece.count)
                unsafe list.append(UnsafeRawBufferPointer(rebasing: buffer[range]))
                start += piece.count
            }
            return try unsafe send(list)
        }
    }

    func receive(_ count: Int) throws(SystemError) -> (IOResult, [UInt8]) {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        let result = try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe receive(into: buffer)
        }
        if case .count(let moved) = result { return (result, Array(bytes[..<moved])) }
        return (result, [])
    }

    /// Waits for exactly so many bytes.
    func awaitBytes(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let (result, more) = try receive(min(count - bytes.count, 65_536))
            if result == .endOfStream { break }
            if result == .wouldBlock { awaitReadable() }
            bytes += more
        }
        return bytes
    }

    /// Waits for the end of the stream; false when bytes come instead.
    func awaitEnd() throws -> Bool {
        while true {
            switch try receive(1).0 {
            case .endOfStream: return true
            case .count: return false
            case .wouldBlock: awaitReadable()
            }
        }
    }

    func awaitConnection() throws -> (Socket, SocketAddress) {
        while true {
            switch try accept() {
            case .connection(let socket, let peer): return (socket, peer)
            case .wouldBlock: awaitReadable()
            }
        }
    }

    func awaitReadable() { awaitEvents(POLLIN) }
    func awaitWritable() { awaitEvents(POLLOUT) }

    private func awaitEvents(_ events: CInt) {
        var request = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        if unsafe poll(&request, 1, 60_000) != 1 { Issue.record("nothing within a minute") }
    }
}
