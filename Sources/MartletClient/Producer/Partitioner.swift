import MartletFormat

/// Which partition a key belongs to.
///
/// The rule is that of Kafka's default partitioner, so that a key has the same partition whichever
/// client writes it: the 32-bit MurmurHash2 of the key's bytes with seed 0x9747B28C, its sign bit
/// cleared, modulo the number of partitions. It will not change; golden vectors in the tests hold
/// it.
public enum Partitioner {
    /// The partition of a key.
    ///
    /// - Parameters:
    ///   - key: the key's bytes; an empty key is a key.
    ///   - partitions: the topic's number of partitions; more than 0.
    /// - Returns: the partition's number, from 0.
    public static func partition(forKey key: RawSpan, partitions: Int) -> Int32 {
        precondition(partitions > 0, "a topic has at least one partition")
        let positive = Int(murmur2(key) & 0x7FFF_FFFF)
        return Int32(truncatingIfNeeded: positive % partitions)
    }

    /// The partition of a key.
    ///
    /// - Parameters:
    ///   - key: the key's bytes; an empty key is a key.
    ///   - partitions: the topic's number of partitions; more than 0.
    /// - Returns: the partition's number, from 0.
    public static func partition(forKey key: [UInt8], partitions: Int) -> Int32 {
        unsafe partition(forKey: key.span.bytes, partitions: partitions)
    }

    /// 32-bit MurmurHash2 of the bytes, little-endian words, seed 0x9747B28C.
    static func murmur2(_ bytes: RawSpan) -> UInt32 {
        let multiplier: UInt32 = 0x5BD1_E995
        let count = bytes.byteCount
        var hash = 0x9747_B28C ^ UInt32(truncatingIfNeeded: count)
        var position = 0
        while count &- position >= 4 {
            var word = UInt32(
                littleEndian: unsafe bytes.unsafeLoadUnaligned(
                    fromByteOffset: position, as: UInt32.self))
            word = word &* multiplier
            word ^= word &>> 24
            hash = (hash &* multiplier) ^ (word &* multiplier)
            position &+= 4
        }
        let rest = count &- position
        for index in stride(from: rest &- 1, through: 0, by: -1) {
            let byte = unsafe bytes.unsafeLoad(fromByteOffset: position &+ index, as: UInt8.self)
            hash ^= UInt32(byte) &<< UInt32(8 &* index)
        }
        if rest > 0 { hash = hash &* multiplier }
        hash ^= hash &>> 13
        hash = hash &* multiplier
        return hash ^ (hash &>> 15)
    }
}
