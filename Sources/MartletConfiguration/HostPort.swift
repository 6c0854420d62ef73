import Glibc

/// A host and a port as people write them: `127.0.0.1:7700`, `[::1]:0`, `broker.example:7700`.
package struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// A name or an address, without brackets.
    package let host: String
    /// 0 lets the system pick one.
    package let port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    package init(parsing text: some StringProtocol) throws(UnitError) {
        let isBracketed = text.utf8.first == UInt8(ascii: "[")
        guard let colon = text.lastIndex(of: ":") else { throw Self.malformed(text) }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        if isBracketed {
            guard host.hasSuffix("]") else { throw Self.malformed(text) }
            host = host.dropFirst().dropLast()
            guard Self.address(AF_INET6, String(host)) != nil else {
                throw UnitError("\(Quoted(text)): there is no IPv6 address in the brackets")
            }
        } else if host.contains(":") {
            throw UnitError("\(Quoted(text)): write an IPv6 address in brackets, as in [::1]:7700")
        } else {
            guard Self.isName(host) else { throw Self.malformed(text) }
        }
        guard (1...5).contains(digits.utf8.count),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(digits)
        else { throw UnitError("\(Quoted(text)): the port must be a number from 0 to 65535") }
        self.init(host: String(host), port: port)
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Whether only this machine can reach it. A name other than `localhost` counts as open to
    /// others: what it resolves to can change.
    package var isLoopback: Bool {
        if host.lowercased() == "localhost" { return true }
        if let bytes = Self.address(AF_INET, host) { return bytes[0] == 127 }
        guard let bytes = Self.address(AF_INET6, host) else { return false }
        let isMapped =
            bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 255 && bytes[11] == 255
        if isMapped { return bytes[12] == 127 }
        return bytes.dropLast().allSatisfy { $0 == 0 } && bytes.last == 1
    }

    private static func malformed(_ text: some StringProtocol) -> UnitError {
        UnitError("\(Quoted(text)) is not HOST:PORT, such as 127.0.0.1:7700")
    }

    private static func isName(_ host: some StringProtocol) -> Bool {
        (1...253).contains(host.utf8.count)
            && host.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                    UInt8(ascii: "_"):
                    true
                case _: false
                }
            }
    }

    /// The bytes of a numeric address; nil when the text is none of that family.
    private static func address(_ family: CInt, _ text: String) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: family == AF_INET ? 4 : 16)
        let result = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe inet_pton(family, text, buffer.baseAddress)
        }
        return result == 1 ? bytes : nil
    }
}
