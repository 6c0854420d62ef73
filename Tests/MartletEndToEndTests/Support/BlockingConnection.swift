import Glibc
import MartletSystem
import Testing

/// An open TCP connection that blocks: what a simple peer has.
final class BlockingConnection {
    private let descriptor: CInt

    init(to address: SocketAddress, receiveBufferBytes: CInt? = nil) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        setTimeouts()
        if var bytes = receiveBufferBytes {
            let size = socklen_t(MemoryLayout<CInt>.size)
            let result = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, size)
            try #require(result == 0)
        }
        let isConnected = Self.connect(descriptor, to: address)
        try #require(isConnected, "connect: \(errno)")
    }

    /// Nil when nobody is there any more.
    init?(ifOpen address: SocketAddress) {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        setTimeouts()
        guard Self.connect(descriptor, to: address) else { return nil }
    }

    private static func connect(_ descriptor: CInt, to address: SocketAddress) -> Bool {
        var peer = sockaddr_in()
        peer.sin_family = sa_family_t(AF_INET)
        peer.sin_port = in_port_t(address.port).bigEndian
        peer.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = unsafe withUnsafePointer(to: peer) { peer in
            unsafe peer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                unsafe Glibc.connect(descriptor, peer, length)
            }
        }
        return result == 0
    }

    /// Nothing that works takes so long: a test that would hang fails instead.
    private func setTimeouts() {
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(descriptor, SOL_SOCKET, option, &limit, size)
        }
    }

    deinit {
        close(descriptor)
    }

    func send(_ text: String) {
        send(Array(text.utf8))
    }

    /// Does nothing when the other side has closed: the reader finds out.
    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { rest in
                unsafe Glibc.send(descriptor, rest.baseAddress, rest.count, CInt(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Exactly so many bytes; nil when the connection ends before.
    func read(_ wanted: Int) -> [UInt8]? {
        var result: [UInt8] = []
        while result.count < wanted {
            guard let chunk = readSome(atMost: wanted - result.count) else { return nil }
            result += chunk
        }
        return result
    }

    /// Everything until the other side closes.
    func readToEnd() -> String {
        var result: [UInt8] = []
        while let chunk = readSome(atMost: 16_384) { result += chunk }
        return String(decoding: result, as: UTF8.self)
    }

    private func readSome(atMost limit: Int) -> [UInt8]? {
        var chunk = [UInt8](repeating: 0, count: limit)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { chunk in
                unsafe Glibc.read(descriptor, chunk.baseAddress, chunk.count)
            }
            if count < 0, errno == EINTR { continue }
            return count > 0 ? Array(chunk.prefix(count)) : nil
        }
    }
}

/// What the admin listener answers to a GET.
struct HTTPAnswer {
    let status: Int
    let body: String

    /// - Parameter version: of HTTP; before 1.1 no answer comes in chunks.
    init(from address: SocketAddress, path: String, version: String = "1.1") throws {
        let connection = try BlockingConnection(to: address)
        connection.send("GET \(path) HTTP/\(version)\r\nHost: martlet\r\n\r\n")
        let text = connection.readToEnd()
        let end = try #require(
            text.unicodeScalars.indices.first { text[$0...].hasPrefix("\r\n\r\n") },
            "no answer from \(address): \(text)")
        status = try #require(Int(text.dropFirst(9).prefix(3)))
        // A line end is one character to Swift.
        body = String(text[end...].dropFirst(2))
    }
}
