import CMartletShim
import Glibc

/// One TCP connection over 127.0.0.1 with a blocking end in each hand: what the kernel alone costs.
/// A yardstick for measurements and nothing else; the product's own sockets are `Socket`.
package struct LoopbackPair: Sendable {
    package let near: LoopbackEnd
    package let far: LoopbackEnd

    package init() throws(SystemError) {
        let listener = try Self.makeSocket()
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        try unsafe Self.withAddress(&address) { pointer, length throws(SystemError) in
            try SystemCall.check("bind") { unsafe bind(listener.value, pointer, length) }
            try SystemCall.check("listen") { listen(listener.value, 1) }
            var filled = length
            try SystemCall.check("getsockname") {
                unsafe getsockname(listener.value, pointer, &filled)
            }
        }
        let near = try Self.makeSocket()
        try unsafe Self.withAddress(&address) { pointer, length throws(SystemError) in
            try SystemCall.check("connect") { unsafe connect(near.value, pointer, length) }
        }
        let far = Descriptor(
            try SystemCall.check("accept") { accept(listener.value, nil, nil) })
        try Self.sendAtOnce(near)
        try Self.sendAtOnce(far)
        self.near = LoopbackEnd(near)
        self.far = LoopbackEnd(far)
        try listener.close("listener")
    }

    private static func makeSocket() throws(SystemError) -> Descriptor {
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        return Descriptor(try SystemCall.check("socket") { socket(AF_INET, kind, 0) })
    }

    private static func sendAtOnce(_ end: Descriptor) throws(SystemError) {
        var one: CInt = 1
        try SystemCall.check("setsockopt") {
            unsafe setsockopt(
                end.value, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        }
    }

    private static func withAddress(
        _ address: inout sockaddr_in,
        _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) throws(SystemError) -> Void
    ) throws(SystemError) {
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        try unsafe withUnsafeMutablePointer(to: &address) { pointer throws(SystemError) in
            try unsafe pointer.withMemoryRebound(
                to: sockaddr.self, capacity: 1
            ) { rebound throws(SystemError) in
                try unsafe body(rebound, length)
            }
        }
    }
}

/// A blocking end of a `LoopbackPair`. One thread at a time.
package final class LoopbackEnd: Sendable {
    private let handle: Descriptor

    init(_ handle: Descriptor) {
        self.handle = handle
    }

    /// Sends all of it.
    package func send(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        _ = try SystemCall.transferAll(bytes.count) { done throws(SystemError) in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            return try SystemCall.check("send") {
                unsafe Glibc.send(handle.value, rest.baseAddress, rest.count, CInt(MSG_NOSIGNAL))
            }
        }
    }

    /// Receives what is there, at least one byte; 0 when the other end is done.
    package func receive(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try SystemCall.check("recv") {
            unsafe recv(handle.value, buffer.baseAddress, buffer.count, 0)
        }
    }

    /// Fills the buffer; false when the other end is done before.
    package func receiveAll(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Bool {
        let done = try SystemCall.transferAll(buffer.count) { done throws(SystemError) in
            try unsafe receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
        }
        return done == buffer.count
    }

    /// Tells the other end that nothing more comes.
    package func finish() {
        _ = shutdown(handle.value, CInt(SHUT_WR))
    }
}
