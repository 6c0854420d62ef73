import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// A client that is written from Protocol.md alone: blocks, speaks one frame after the other, and
/// shares no code with the product.
// Sendable: one thread at a time uses it.
final class RawPeer: @unchecked Sendable {
    struct Frame {
        let operation: UInt16
        let correlation: UInt64
        let error: UInt16
        let message: String
        /// Behind `error` and `message`.
        var fields: RawReader
    }

    static let shuttingDown: UInt16 = 1_006
    static let diskFull: UInt16 = 1_003
    static let storageFailed: UInt16 = 1_004
    static let tooManyRequests: UInt16 = 1_005

    private let connection: BlockingConnection
    private var correlation: UInt64 = 0

    init(to address: SocketAddress, receiveBufferBytes: CInt? = nil) throws {
        connection = try BlockingConnection(to: address, receiveBufferBytes: receiveBufferBytes)
        try #require(request(1, Self.hello)?.error == 0)
    }

    /// Nil when nobody serves there any more.
    init?(ifServed address: SocketAddress) {
        guard let connection = BlockingConnection(ifOpen: address) else { return nil }
        self.connection = connection
        guard request(1, Self.hello)?.error == 0 else { return nil }
    }

    private static let hello: [UInt8] =
        RawBytes.integer(UInt32(0x4D52_544C)) + RawBytes.integer(UInt16(1))
        + RawBytes.integer(UInt16(1)) + RawBytes.integer(UInt64(0)) + RawBytes.string("raw")
        + RawBytes.string("1") + RawBytes.string("") + RawBytes.string("")

    /// The whole frame with which a connection begins.
    static let helloFrame: [UInt8] = frame(1, hello, correlation: 1)

    private static func frame(
        _ operation: UInt16, _ fields: [UInt8], correlation: UInt64
    ) -> [UInt8] {
        RawBytes.integer(UInt32(fields.count + 12)) + RawBytes.integer(operation)
            + RawBytes.integer(UInt16(1)) + RawBytes.integer(correlation) + fields
    }

    /// Sends bytes that are no frame.
    func sendRaw(_ bytes: [UInt8]) {
        connection.send(bytes)
    }

    /// Sends without waiting; returns the correlation. Nobody may be there any more: then no reply
    /// will come.
    @discardableResult
    func send(_ operation: UInt16, _ fields: [UInt8]) -> UInt64 {
        correlation += 1
        connection.send(Self.frame(operation, fields, correlation: correlation))
        return correlation
    }

    /// The next frame; nil at the end of the connection.
    func receive() -> Frame? {
        guard let head = connection.read(16), head.count == 16 else { return nil }
        var reader = RawReader(head)
        let count = Int(reader.integer(UInt32.self)) - 12
        let operation = reader.integer(UInt16.self)
        _ = reader.integer(UInt16.self)
        let correlation = reader.integer(UInt64.self)
        guard let body = connection.read(count), body.count == count else { return nil }
        var fields = RawReader(body)
        let error = fields.integer(UInt16.self)
        let message = fields.string()
        return Frame(
            operation: operation, correlation: correlation, error: error, message: message,
            fields: fields)
    }

    /// Sends and waits; nil when the connection ends first. For one request at a time.
    func request(_ operation: UInt16, _ fields: [UInt8]) -> Frame? {
        let sent = send(operation, fields)
        while let frame = receive() {
            if frame.correlation == sent { return frame }
        }
        return nil
    }

    func ping() -> Bool {
        request(2, [])?.error == 0
    }

    /// Makes a topic of one partition; its id.
    func createTopic(_ name: String) throws -> [UInt8] {
        let fields =
            RawBytes.string(name) + RawBytes.integer(Int32(1)) + RawBytes.integer(UInt32(0)) + [0]
        var reply = try #require(request(10, fields))
        try #require(reply.error == 0, "\(reply.message)")
        return reply.fields.take(16)
    }

    /// The id of a new topic; nil when it was refused, or when nobody answered.
    func topicIfMade(_ name: String, partitions: Int32 = 1) -> [UInt8]? {
        let fields =
            RawBytes.string(name) + RawBytes.integer(partitions) + RawBytes.integer(UInt32(0)) + [0]
        guard var reply = request(10, fields), reply.error == 0 else { return nil }
        return reply.fields.take(16)
    }

    /// The fields of a produce of one batch to partition 0, acknowledged when durable.
    static func produce(_ batch: [UInt8], to topic: [UInt8]) -> [UInt8] {
        [2] + RawBytes.integer(UInt32(30_000)) + RawBytes.integer(UInt32(1)) + topic
            + RawBytes.integer(Int32(0)) + RawBytes.integer(UInt32(batch.count)) + batch
    }

    /// The error of a produce of one batch; its result's when the request as a whole went well.
    static func outcome(_ reply: Frame) -> UInt16 {
        guard reply.error == 0 else { return reply.error }
        var fields = reply.fields
        _ = fields.integer(UInt32.self)
        return fields.integer(UInt16.self)
    }

    /// The end of partition 0 as readers see it.
    func endOffset(of topic: [UInt8]) throws -> Int64 {
        let entry = topic + RawBytes.integer(Int32(0)) + [1] + RawBytes.integer(Int64(0))
        var reply = try #require(request(22, RawBytes.integer(UInt32(1)) + entry))
        try #require(reply.error == 0, "\(reply.message)")
        _ = reply.fields.integer(UInt32.self)
        try #require(reply.fields.integer(UInt16.self) == 0)
        _ = reply.fields.string()
        return reply.fields.integer(Int64.self)
    }
}

/// Big-endian fields.
enum RawBytes {
    static func integer(_ value: some FixedWidthInteger) -> [UInt8] {
        unsafe withUnsafeBytes(of: value.bigEndian) { unsafe Array($0) }
    }

    static func string(_ text: String) -> [UInt8] {
        integer(UInt16(text.utf8.count)) + Array(text.utf8)
    }
}

/// Takes fields from the front; what is missing is zero, and the test that reads it fails.
struct RawReader {
    private var bytes: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) {
        self.bytes = bytes[...]
    }

    mutating func take(_ count: Int) -> [UInt8] {
        defer { bytes = bytes.dropFirst(count) }
        return Array(bytes.prefix(count))
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) -> Value {
        take(MemoryLayout<Value>.size).reduce(0) { ($0 << 8) | Value(truncatingIfNeeded: $1) }
    }

    mutating func string() -> String {
        let count = Int(integer(UInt16.self))
        return String(decoding: take(count), as: UTF8.self)
    }
}

/// Record batches that another program made (Tests/MartletFormatTests/Golden).
enum GoldenBatch {
    /// One record.
    static func single() throws -> [UInt8] { try read("single") }
    /// 36 KiB.
    static func large() throws -> [UInt8] { try read("lengths") }

    private static func read(_ name: String) throws -> [UInt8] {
        let path = "\(Repository.root)/Tests/MartletFormatTests/Golden/\(name).bin"
        let file = try PosixFileSystem().open(path, .readOnly)
        var bytes = [UInt8](repeating: 0, count: Int(try file.size()))
        _ = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe file.read(into: buffer, at: 0)
        }
        return bytes
    }
}
