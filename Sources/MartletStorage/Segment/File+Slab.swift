import MartletFormat
import MartletSystem

extension File {
    /// Reads from `position` into the free space of `slab`; returns how many bytes came, less than
    /// asked only at the end of the file.
    func read(
        into slab: ByteSlab, atMost limit: Int = .max, at position: Int64
    ) throws(SystemError) -> Int {
        unsafe try slab.fill(atMost: limit) {
            (space: UnsafeMutableRawBufferPointer) throws(SystemError) in
            unsafe try read(into: space, at: position)
        }
    }

    /// Fills `slab` from `position` on, up to its capacity or the end of the file.
    func readAll(into slab: ByteSlab, at position: Int64) throws(SystemError) {
        while slab.freeCapacity > 0 {
            let got = try read(into: slab, at: position + Int64(slab.count))
            if got == 0 { return }
        }
    }

    func write(
        _ slab: ByteSlab, _ range: Range<Int>, at position: Int64
    ) throws(SystemError) {
        unsafe try slab.withUnsafeBytes(range) { bytes throws(SystemError) in
            unsafe try write(bytes, at: position)
        }
    }

    func write(_ slab: ByteSlab, at position: Int64) throws(SystemError) {
        try write(slab, 0..<slab.count, at: position)
    }
}
