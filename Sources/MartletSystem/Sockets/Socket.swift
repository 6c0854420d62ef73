import CMartletShim
import Glibc

/// What one call on a non-blocking socket did.
package enum IOResult: Equatable, Sendable {
    /// So many bytes moved; may be fewer than asked.
    case count(Int)
    /// Nothing moved; wait until the socket is ready.
    case wouldBlock
    /// The other side sends no more (or, for `sendFile`, the file ends here).
    case endOfStream
}

/// What `accept` found.
package enum AcceptResult: Sendable {
    case connection(Socket, SocketAddress)
    case wouldBlock
}

/// A TCP socket: non-blocking, close-on-exec, without Nagle's delay; closed exactly once.
///
/// Calls may come from any thread, but `close` only where no other call can be under way: on the
/// owner's queue (`ReadinessSource.cancel` sees to that) or by dropping the last reference.
/// A peer that went away is an error (`SystemError.isDisconnect`), never a SIGPIPE.
package final class Socket: Sendable {
    private let handle: Descriptor

    private init(_ number: CInt) {
        self.handle = Descriptor(number)
    }

    /// The descriptor for event sources; -1 once closed.
    package var descriptor: CInt { handle.value }

    // MARK: making one

    /// Binds and listens. Port 0 lets the system choose: ask `localAddress`.
    package static func listen(
        on address: SocketAddress, backlog: Int = 1024
    ) throws(SystemError) -> Socket {
        let socket = try make(family: address.family)
        try socket.setOption(SOL_SOCKET, SO_REUSEADDR, 1)
        try SystemCall.check("bind", address.description) {
            unsafe address.withSockaddr { unsafe bind(socket.descriptor, $0, $1) }
        }
        try SystemCall.check("listen", address.description) {
            Glibc.listen(socket.descriptor, CInt(clamping: backlog))
        }
        return socket
    }

    /// Starts to connect. Once the socket is writable, `finishConnect` tells how it went.
    package static func connect(to address: SocketAddress) throws(SystemError) -> Socket {
        let socket = try make(family: address.family)
        let result = unsafe address.withSockaddr {
            unsafe Glibc.connect(socket.descriptor, $0, $1)
        }
        if result == -1 {
            let code = errno
            // An interrupted connect goes on in the background, like one that is in progress.
            if code != EINPROGRESS && code != EINTR {
                throw SystemError(call: "connect", code: code, subject: address.description)
            }
        }
        return socket
    }

    /// Throws the reason when the connect failed; call it when the socket became writable.
    package func finishConnect() throws(SystemError) {
        let code = try option(SOL_SOCKET, SO_ERROR)
        if code != 0 { throw SystemError(call: "connect", code: code) }
        // Also asks the kernel whether there is a peer: without an error it may still be trying.
        _ = try peerAddress()
    }

    /// Takes one waiting connection. Throws `isTooManyFiles` when no descriptor is free.
    package func accept() throws(SystemError) -> AcceptResult {
        var storage = sockaddr_storage()
        while true {
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let flags = CInt(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
            let number = SystemCall.retrying {
                unsafe martlet_accept4(descriptor, &storage, &length, flags)
            }
            if number >= 0 {
                let socket = Socket(number)
                guard let peer = Self.address(storage, length) else {
                    throw SystemError(call: "accept", code: EAFNOSUPPORT)
                }
                try socket.setOption(CInt(IPPROTO_TCP), TCP_NODELAY, 1)
                return .connection(socket, peer)
            }
            switch errno {
            case EAGAIN: return .wouldBlock
            // This one connection broke before we took it; the next may be well.
            case ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
                ENETUNREACH:
                continue
            case let code: throw SystemError(call: "accept", code: code)
            }
        }
    }

    // MARK: moving bytes

    /// Receives what is there, at most `buffer.count` bytes.
    package func receive(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> IOResult {
        if unsafe buffer.isEmpty { return .count(0) }
        let moved = SystemCall.retrying {
            unsafe recv(descriptor, buffer.baseAddress, buffer.count, 0)
        }
        if moved == 0 { return .endOfStream }
        return try Self.result("recv", moved)
    }

    /// Sends as many of the bytes as the socket takes.
    ///
    /// `moreFollows` lets the kernel put these bytes and the next ones into one packet.
    package func send(
        _ bytes: UnsafeRawBufferPointer, moreFollows: Bool = false
    ) throws(SystemError) -> IOResult {
        let flags = Self.sendFlags(moreFollows)
        let moved = SystemCall.retrying {
            unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, flags)
        }
        return try Self.result("send", moved)
    }

    /// Sends as much of the pieces, one after the other, as the socket takes.
    package func send(
        _ pieces: [UnsafeRawBufferPointer], moreFollows: Bool = false
    ) throws(SystemError) -> IOResult {
        let flags = Self.sendFlags(moreFollows)
        // The kernel takes no more than 1024 pieces (IOV_MAX); the caller sends the rest next.
        let count = min(unsafe pieces.count, 1024)
        if count == 0 { return .count(0) }
        let moved = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: count) { list in
            for index in 0..<count {
                let piece = unsafe pieces[index]
                unsafe list.initializeElement(
                    at: index,
                    to: iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: piece.baseAddress),
                        iov_len: piece.count
                    )
                )
            }
            var message = unsafe msghdr()
            unsafe message.msg_iov = list.baseAddress
            unsafe message.msg_iovlen = count
            return SystemCall.retrying { unsafe sendmsg(descriptor, &message, flags) }
        }
        return try Self.result("sendmsg", moved)
    }

    /// Sends bytes of a file without bringing them into the process.
    package func sendFile(
        from file: CInt, at position: Int64, count: Int
    ) throws(SystemError) -> IOResult {
        if count == 0 { return .count(0) }
        // `sendfile` has no flag against SIGPIPE, so the signal itself has to go.
        Signals.ignoreBrokenPipe()
        var offset = off_t(position)
        let moved = SystemCall.retrying { unsafe sendfile(descriptor, file, &offset, count) }
        if moved == 0 { return .endOfStream }
        return try Self.result("sendfile", moved)
    }

    private static func sendFlags(_ moreFollows: Bool) -> CInt {
        CInt(MSG_NOSIGNAL) | (moreFollows ? CInt(MSG_MORE) : 0)
    }

    private static func result(_ call: String, _ moved: Int) throws(SystemError) -> IOResult {
        if moved >= 0 { return .count(moved) }
        let code = errno
        if code == EAGAIN { return .wouldBlock }
        throw SystemError(call: call, code: code)
    }

    // MARK: facts and settings

    package func localAddress() throws(SystemError) -> SocketAddress {
        try unsafe address("getsockname") { unsafe getsockname(descriptor, $0, $1) }
    }

    package func peerAddress() throws(SystemError) -> SocketAddress {
        try unsafe address("getpeername") { unsafe getpeername(descriptor, $0, $1) }
    }

    /// Finds out about a peer that went away without a word, both when the connection is idle
    /// (probes) and when sent bytes are not acknowledged for `userTimeoutMilliseconds`.
    package func setKeepAlive(
        idleSeconds: Int, intervalSeconds: Int, probes: Int, userTimeoutMilliseconds: Int
    ) throws(SystemError) {
        let tcp = CInt(IPPROTO_TCP)
        try setOption(SOL_SOCKET, SO_KEEPALIVE, 1)
        try setOption(tcp, TCP_KEEPIDLE, idleSeconds)
        try setOption(tcp, TCP_KEEPINTVL, intervalSeconds)
        try setOption(tcp, TCP_KEEPCNT, probes)
        try setOption(tcp, TCP_USER_TIMEOUT, userTimeoutMilliseconds)
    }

    /// Sizes of the kernel's buffers in bytes; nil leaves one as it is (and self-tuning).
    package func setBufferSizes(send: Int?, receive: Int?) throws(SystemError) {
        if let send { try setOption(SOL_SOCKET, SO_SNDBUF, send) }
        if let receive { try setOption(SOL_SOCKET, SO_RCVBUF, receive) }
    }

    /// Makes `close` send a reset and throw away what was not sent.
    package func resetOnClose() throws(SystemError) {
        var value = linger(l_onoff: 1, l_linger: 0)
        let size = socklen_t(MemoryLayout<linger>.size)
        try SystemCall.check("setsockopt") {
            unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &value, size)
        }
    }

    /// Sends no more: the peer sees the end of the stream after what was sent.
    package func shutdownSending() throws(SystemError) {
        try shutdown(CInt(SHUT_WR))
    }

    /// Ends both directions; pending and later calls return. The descriptor stays taken.
    package func shutdown() throws(SystemError) {
        try shutdown(CInt(SHUT_RDWR))
    }

    /// Ends both directions without a word, as far as that goes: every later call tells the end.
    func abandon() {
        _ = Glibc.shutdown(descriptor, CInt(SHUT_RDWR))
    }

    private func shutdown(_ how: CInt) throws(SystemError) {
        let result = SystemCall.retrying { Glibc.shutdown(descriptor, how) }
        // ENOTCONN: the peer was faster, there is nothing left to end.
        if result == -1, errno != ENOTCONN {
            let code = errno
            throw SystemError(call: "shutdown", code: code)
        }
    }

    /// Gives the descriptor back. Only the first call does something.
    package func close() {
        do {
            try handle.close("socket")
        } catch {
            // The descriptor is gone in any case, and nobody can do anything about the error.
        }
    }

    private static func make(family: CInt) throws(SystemError) -> Socket {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let socket = Socket(try SystemCall.check("socket") { Glibc.socket(family, type, 0) })
        try socket.setOption(CInt(IPPROTO_TCP), TCP_NODELAY, 1)
        return socket
    }

    private func setOption(_ level: CInt, _ name: CInt, _ number: Int) throws(SystemError) {
        var value = CInt(clamping: number)
        let size = socklen_t(MemoryLayout<CInt>.size)
        try SystemCall.check("setsockopt") {
            unsafe setsockopt(descriptor, level, name, &value, size)
        }
    }

    private func option(_ level: CInt, _ name: CInt) throws(SystemError) -> CInt {
        var value: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        try SystemCall.check("getsockopt") {
            unsafe getsockopt(descriptor, level, name, &value, &size)
        }
        return value
    }

    private func address(
        _ call: String,
        _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
    ) throws(SystemError) -> SocketAddress {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        try SystemCall.check(call) {
            unsafe withUnsafeMutablePointer(to: &storage) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe body($0, &length)
                }
            }
        }
        guard let address = Self.address(storage, length) else {
            throw SystemError(call: call, code: EAFNOSUPPORT)
        }
        return address
    }

    private static func address(
        _ storage: sockaddr_storage, _ length: socklen_t
    ) -> SocketAddress? {
        unsafe withUnsafePointer(to: storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe SocketAddress($0, length: length)
            }
        }
    }
}
