import MartletSystem
import Testing

extension File {
    func write(_ bytes: [UInt8], at position: Int64) throws(SystemError) {
        try unsafe bytes.span.withUnsafeBytes { buffer throws(SystemError) in
            try unsafe write(buffer, at: position)
        }
    }

    func bytes(at position: Int64, count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        let moved = try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe read(into: buffer, at: position)
        }
        return Array(bytes[..<moved])
    }
}

/// The system error that `body` threw; nil when it threw none.
func failure(_ body: () throws -> Void) -> SystemError? {
    do {
        try body()
        return nil
    } catch let error as SystemError {
        return error
    } catch {
        Issue.record(error)
        return nil
    }
}
