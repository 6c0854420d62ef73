/// A value that says who sent it, and whose every byte can be checked again: `lane:counter:` and a
/// filler that follows from both.
struct Payload: Equatable, Sendable {
    let lane: Int
    let counter: Int

    /// 16 bytes to about 3 KB, so that batches, index entries and segments meet every length.
    var bytes: [UInt8] {
        var result = Array("\(lane):\(counter):".utf8)
        var state =
            UInt64(lane) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(counter) &* 0xBF58_476D_1CE4_E5B9
        state = Self.mix(state)
        let length = Int(state % 64) == 0 ? 3_000 : Int(state >> 32) % 300
        while result.count < length {
            state = Self.mix(state &+ 0x9E37_79B9_7F4A_7C15)
            unsafe withUnsafeBytes(of: state) { unsafe result.append(contentsOf: $0) }
        }
        return result
    }

    /// nil when the bytes are not exactly what such a payload would be.
    init?(_ bytes: [UInt8]) {
        let parts = bytes.prefix(40).split(
            separator: 58, maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let lane = Int(String(decoding: parts[0], as: UTF8.self)),
            let counter = Int(String(decoding: parts[1], as: UTF8.self))
        else { return nil }
        self.init(lane: lane, counter: counter)
        guard self.bytes == bytes else { return nil }
    }

    init(lane: Int, counter: Int) {
        self.lane = lane
        self.counter = counter
    }

    /// One number for one payload.
    var identity: UInt64 { UInt64(lane) << 40 | UInt64(counter) }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
