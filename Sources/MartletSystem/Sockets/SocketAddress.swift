package import Glibc

/// An IPv4 or IPv6 address with a port.
package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    private enum Address: Hashable {
        /// In host byte order.
        case v4(UInt32)
        /// The 128 bits in host byte order, and the interface of a link-local address.
        case v6(high: UInt64, low: UInt64, scope: UInt32)
    }

    private let address: Address
    package let port: UInt16

    /// Reads `127.0.0.1:7700`, `[::1]:0` or `name:7700`; the first address of a name.
    ///
    /// A name may ask a server over the network: never call this on an I/O queue.
    package init(parsing text: String) throws(SystemError) {
        let all = try Self.resolve(text)
        guard let first = all.first else {
            throw SystemError(call: "getaddrinfo", code: EADDRNOTAVAIL, subject: text)
        }
        self = first
    }

    /// All addresses of `host:port`, in the order in which they should be tried. May block.
    package static func resolve(_ text: String) throws(SystemError) -> [SocketAddress] {
        let (host, port) = try split(text)
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &list)
        if status != 0 {
            let code = status == EAI_SYSTEM ? errno : EADDRNOTAVAIL
            throw SystemError(call: "getaddrinfo", code: code, subject: text)
        }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            if let bytes = unsafe entry.pointee.ai_addr,
                let address = unsafe SocketAddress(bytes, length: entry.pointee.ai_addrlen),
                !addresses.contains(address)
            {
                addresses.append(address)
            }
            unsafe next = entry.pointee.ai_next
        }
        return addresses
    }

    /// The host as digits, without brackets.
    package var host: String {
        var buffer = InlineText()
        switch address {
        case .v4(let bits):
            var raw = bits.bigEndian
            return unsafe buffer.text { unsafe inet_ntop(AF_INET, &raw, $0, $1) }
        case .v6(let high, let low, let scope):
            var raw = (high.bigEndian, low.bigEndian)
            let digits = unsafe buffer.text { unsafe inet_ntop(AF_INET6, &raw, $0, $1) }
            return scope == 0 ? digits : "\(digits)%\(scope)"
        }
    }

    package var description: String {
        switch address {
        case .v4: "\(host):\(port)"
        case .v6: "[\(host)]:\(port)"
        }
    }

    /// Whether only this machine can be at the other end.
    package var isLoopback: Bool {
        switch address {
        case .v4(let bits): bits >> 24 == 127
        case .v6(0, 1, _): true
        // ::ffff:127.0.0.0/104, an IPv4 address in IPv6 clothes.
        case .v6(0, let low, _): low >> 24 == 0xFFFF_7F
        case .v6: false
        }
    }

    package var family: CInt {
        switch address {
        case .v4: AF_INET
        case .v6: AF_INET6
        }
    }

    /// Reads what a system call left; nil for another family or too few bytes.
    package init?(_ pointer: UnsafePointer<sockaddr>, length: socklen_t) {
        let raw = unsafe UnsafeRawPointer(pointer)
        switch CInt(unsafe pointer.pointee.sa_family) {
        case AF_INET where Int(length) >= MemoryLayout<sockaddr_in>.size:
            let value = unsafe raw.loadUnaligned(as: sockaddr_in.self)
            address = .v4(UInt32(bigEndian: value.sin_addr.s_addr))
            port = UInt16(bigEndian: value.sin_port)
        case AF_INET6 where Int(length) >= MemoryLayout<sockaddr_in6>.size:
            let value = unsafe raw.loadUnaligned(as: sockaddr_in6.self)
            let bits = unsafe withUnsafeBytes(of: value.sin6_addr) { bytes in
                unsafe (
                    UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                    UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            address = .v6(high: bits.0, low: bits.1, scope: value.sin6_scope_id)
            port = UInt16(bigEndian: value.sin6_port)
        default:
            return nil
        }
    }

    /// Lends the address in the form that system calls take.
    package func withSockaddr<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        switch address {
        case .v4(let bits):
            var value = sockaddr_in()
            value.sin_family = sa_family_t(AF_INET)
            value.sin_port = port.bigEndian
            value.sin_addr.s_addr = bits.bigEndian
            return unsafe Self.lend(&value, body)
        case .v6(let high, let low, let scope):
            var value = sockaddr_in6()
            value.sin6_family = sa_family_t(AF_INET6)
            value.sin6_port = port.bigEndian
            value.sin6_scope_id = scope
            unsafe withUnsafeMutableBytes(of: &value.sin6_addr) { bytes in
                unsafe bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
                unsafe bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            return unsafe Self.lend(&value, body)
        }
    }

    private static func lend<Value, Result>(
        _ value: inout Value, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        unsafe withUnsafeMutablePointer(to: &value) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe body(UnsafePointer(address), socklen_t(MemoryLayout<Value>.size))
            }
        }
    }

    /// Splits at the last colon; an IPv6 host must stand in brackets.
    private static func split(_ text: String) throws(SystemError) -> (String, UInt16) {
        let refused = SystemError(call: "getaddrinfo", code: EINVAL, subject: text)
        guard let colon = text.lastIndex(of: ":") else { throw refused }
        let digits = text[text.index(after: colon)...]
        // `UInt16` alone would take a sign.
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else {
            throw refused
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw refused
        }
        if host.isEmpty || host.contains("\0") { throw refused }
        return (String(host), port)
    }
}

/// Room for the longest address as text.
private struct InlineText {
    private var bytes = InlineArray<64, CChar>(repeating: 0)

    mutating func text(
        _ body: (UnsafeMutablePointer<CChar>, socklen_t) -> UnsafePointer<CChar>?
    ) -> String {
        unsafe withUnsafeMutableBytes(of: &bytes) { raw in
            let room = unsafe raw.bindMemory(to: CChar.self)
            guard let base = room.baseAddress, let text = unsafe body(base, socklen_t(room.count))
            else { return "?" }
            return unsafe String(cString: text)
        }
    }
}
