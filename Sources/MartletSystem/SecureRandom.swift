import CMartletShim
import Glibc

/// Unpredictable bytes from the kernel: for identifiers and secrets.
package enum SecureRandom {
    package static func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
        guard let base = buffer.baseAddress else { return }
        try SystemCall.check("getrandom") { unsafe martlet_getrandom(base, buffer.count) }
    }

    package static func bytes(_ count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe fill(buffer)
        }
        return bytes
    }

    package static func uint64() throws(SystemError) -> UInt64 {
        var value: UInt64 = 0
        try unsafe withUnsafeMutableBytes(of: &value) { buffer throws(SystemError) in
            try unsafe fill(buffer)
        }
        return value
    }
}
