import Glibc
import MartletSystem
import Testing

/// An open TCP connection that blocks: what a simple peer has.
final class BlockingConnection {
    private let descriptor: CInt

    init(to address: SocketAddress) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        var peer = sockaddr_in()
        peer.sin_family = sa_family_t(AF_INET)
        peer.sin_port = in_port_t(address.port).bigEndian
        peer.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let result = unsafe withUnsafePointer(to: peer) { peer in
            unsafe peer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                unsafe connect(descriptor, peer, length)
            }
        }
        try #require(result == 0, "connect: \(errno)")
    }

    deinit {
        close(descriptor)
    }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe bytes.withUnsafeBytes { bytes in
            unsafe Glibc.send(
                descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL))
        }
    }

    /// Everything until the other side closes.
    func readToEnd() -> String {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { chunk in
                unsafe read(descriptor, chunk.baseAddress, chunk.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            result += chunk.prefix(count)
        }
        return String(decoding: result, as: UTF8.self)
    }
}

/// What the admin listener answers to a GET.
struct HTTPAnswer {
    let status: Int
    let body: String

    init(from address: SocketAddress, path: String) throws {
        let connection = try BlockingConnection(to: address)
        connection.send("GET \(path) HTTP/1.1\r\nHost: martlet\r\n\r\n")
        let text = connection.readToEnd()
        let end = try #require(
            text.unicodeScalars.indices.first { text[$0...].hasPrefix("\r\n\r\n") },
            "no answer from \(address): \(text)")
        status = try #require(Int(text.dropFirst(9).prefix(3)))
        // A line end is one character to Swift.
        body = String(text[end...].dropFirst(2))
    }
}
