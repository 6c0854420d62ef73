import Glibc
import MartletFormat
import MartletWire
import Testing

/// A blocking socket that speaks in frames, or in whatever bytes a test wants to send.
final class RawClient {
    struct Closed: Error {}
    struct Failed: Error {
        let call: String
        let code: CInt
    }

    let descriptor: CInt
    /// Made with the first receive, so that many clients that only send cost little.
    private lazy var input = ByteSlab(capacity: 40 << 20)
    private var consumed = 0
    private var nextCorrelation: UInt64 = 1_000
    private var isOpen = true
    /// MSG_NOSIGNAL.
    private static let noSignal: CInt = 0x4000

    init(port: UInt16, receiveBufferBytes: Int? = nil) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failed(call: "socket", code: errno) }
        if let receiveBufferBytes {
            var size = CInt(receiveBufferBytes)
            unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
        }
        // Nothing that works takes so long: a test that would hang fails instead.
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var one: CInt = 1
        unsafe setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failed(call: "connect", code: errno) }
    }

    deinit { close() }

    func close() {
        guard isOpen else { return }
        isOpen = false
        Glibc.close(descriptor)
    }

    func shutdownSending() {
        Glibc.shutdown(descriptor, CInt(SHUT_WR))
    }

    /// Makes closing send a reset.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.send(
                    descriptor, buffer.baseAddress?.advanced(by: sent), bytes.count - sent,
                    Self.noSignal)
            }
            guard count > 0 else { throw Failed(call: "send", code: errno) }
            sent += count
        }
    }

    /// The next frame of the broker: its header, and its payload in a slab of its own.
    func receive() throws -> (header: FrameHeader, payload: ByteSlab) {
        let decoder = FrameDecoder(frameBytesMax: 64 << 20)
        let input = input
        while true {
            switch try decoder.step(in: input.bytes, at: consumed) {
            case .frame(let header, let payload):
                let slab = ByteSlab(capacity: max(payload.count, 1))
                slab.append(input.span(payload))
                consumed = payload.upperBound
                return (header, slab)
            case .needBytes:
                try receiveMore()
            }
        }
    }

    private func receiveMore() throws {
        if consumed > 0 {
            input.removePrefix(consumed)
            consumed = 0
        }
        var code: CInt = 0
        let count = unsafe input.fill(atMost: 1 << 20) { free in
            let count = unsafe recv(descriptor, free.baseAddress, free.count, 0)
            if count < 0 { code = errno }
            return max(count, 0)
        }
        if code == ECONNRESET { throw Closed() }
        guard code == 0 else { throw Failed(call: "recv", code: code) }
        if count == 0 { throw Closed() }
    }

    /// Every byte until the broker closes.
    func receiveAll() throws -> [UInt8] {
        while true {
            do {
                try receiveMore()
            } catch is Closed {
                return unsafe input.withUnsafeBytes(0..<input.count) { unsafe [UInt8]($0) }
            }
        }
    }

    /// Reads until the broker closes; returns the frames that came before.
    func receiveUntilClosed() throws -> [(header: FrameHeader, payload: ByteSlab)] {
        var frames: [(header: FrameHeader, payload: ByteSlab)] = []
        while true {
            do {
                frames.append(try receive())
            } catch is Closed {
                return frames
            }
        }
    }

    /// Sends a request and returns the reply to it, which must be the next frame.
    func ask<Message: WireRequest>(
        _ request: Message, attachment: [UInt8] = []
    ) throws -> Message.Reply {
        nextCorrelation += 1
        try send(try request.frame(correlation: nextCorrelation) + attachment)
        let (header, payload) = try receive()
        #expect(header.correlation == nextCorrelation)
        #expect(header.operation == Message.operation.rawValue | FrameHeader.replyBit)
        return try Message.Reply.decode(payload, 0..<payload.count, version: header.version)
            .message
    }

    /// The next frame as the reply that a test expects.
    func receive<Reply: WireReply>(
        _ type: Reply.Type
    ) throws -> (correlation: UInt64, reply: Reply, attachment: ByteSlab) {
        let (header, payload) = try receive()
        let (message, range) = try type.decode(payload, 0..<payload.count, version: header.version)
        let attachment = ByteSlab(capacity: max(range.count, 1))
        attachment.append(payload.span(range))
        return (header.correlation, message, attachment)
    }

    /// Sends one batch and returns its result.
    func produce(
        _ topic: TopicID, _ batch: [UInt8], partition: Int32 = 0, acks: Acks = .durable
    ) throws -> ProduceResult {
        try send(try produceFrame(topic, [batch], partition: partition, acks: acks))
        let reply = try receive(ProduceReply.self).reply
        #expect(reply.error == .none, "\(reply.message)")
        return try #require(reply.results.first)
    }
}
