import MartletSystem

/// Standard input cut into pieces by a delimiter. Reading waits on a queue of its own, so that no
/// thread of the others is held.
final class InputPieces: Sendable {
    /// Longer pieces are no records: no broker takes them.
    static let pieceBytesMax = 64 << 20
    private static let chunkBytes = 1 << 16

    private let queue = SerialQueue(label: "martlet.input")

    /// The next bytes of standard input; nil at its end. A cancelled task does not wait for them.
    private func chunk() async throws -> [UInt8]? {
        let (results, one) = AsyncStream.makeStream(of: Result<[UInt8], SystemError>.self)
        queue.execute {
            one.yield(Self.read())
            one.finish()
        }
        for await result in results {
            let bytes = try result.get()
            return bytes.isEmpty ? nil : bytes
        }
        throw CancellationError()
    }

    private static func read() -> Result<[UInt8], SystemError> {
        var bytes = [UInt8](repeating: 0, count: chunkBytes)
        do throws(SystemError) {
            var span = bytes.mutableSpan
            let count = try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in
                try unsafe StandardStream.input.read(into: buffer)
            }
            return .success(Array(bytes[..<count]))
        } catch {
            return .failure(error)
        }
    }

    /// Calls `body` with every piece; a last one without a delimiter counts when it is not empty.
    func forEach(
        delimiter: UInt8, _ body: ([UInt8]) async throws -> Void
    ) async throws {
        var rest: [UInt8] = []
        while let chunk = try await chunk() {
            var start = chunk.startIndex
            while let end = chunk[start...].firstIndex(of: delimiter) {
                rest += chunk[start..<end]
                try await body(rest)
                rest.removeAll(keepingCapacity: true)
                start = end + 1
            }
            rest += chunk[start...]
            guard rest.count <= Self.pieceBytesMax else {
                throw ToolError.usage(
                    "a record on standard input is longer than \(Shown.bytes(Int64(Self.pieceBytesMax)))"
                )
            }
            try Task.checkCancellation()
        }
        if !rest.isEmpty { try await body(rest) }
    }
}
