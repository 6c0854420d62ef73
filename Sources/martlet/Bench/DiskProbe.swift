import MartletFormat
import MartletSystem

/// Times writes that are synced one by one, in a file of its own that is removed afterwards.
struct DiskProbe {
    let directory: String
    /// How long each measurement runs.
    let nanoseconds: Int64

    private let fileSystem = PosixFileSystem()
    private let clock = SystemClock()

    init(directory: String, nanoseconds: Int64) {
        self.directory = directory
        self.nanoseconds = nanoseconds
    }

    /// Appends pieces to a growing file.
    func append(_ size: Int) throws(SystemError) -> ProbeFigures {
        try withFile { (file: any File) throws(SystemError) in
            try run(file, size) { $0 * Int64(size) }
        }
    }

    /// Writes pieces over space that was written and synced before.
    func overwrite(_ size: Int, in space: Int64) throws(SystemError) -> ProbeFigures {
        try withFile { (file: any File) throws(SystemError) in
            let zeros = ByteSlab(capacity: 1 << 20)
            zeros.appendZeros(1 << 20)
            var position: Int64 = 0
            while position < space {
                try Self.write(zeros, to: file, at: position)
                position += Int64(zeros.count)
            }
            try file.sync()
            let slots = space / Int64(size)
            return try run(file, size) { $0 % slots * Int64(size) }
        }
    }

    /// Appends pieces when they are due, whether or not the disk is done with those before, and syncs
    /// all that came meanwhile at once. Each time counts from the moment the piece was due, so that
    /// a stall shows in all that waited for it: what a program without any cost of its own has at
    /// this pace.
    func paced(_ size: Int, rate: Int64) throws(SystemError) -> ProbeFigures {
        try withFile { (file: any File) throws(SystemError) in
            let content = Self.random(size)
            let interval = 1_000_000_000 / rate
            var figures = ProbeFigures()
            let start = clock.monotonicNanoseconds()
            var now = start
            while now - start < nanoseconds {
                let first = figures.operations
                PreciseWait.until(monotonicNanoseconds: start + first * interval)
                now = clock.monotonicNanoseconds()
                while start + figures.operations * interval <= now {
                    content.patch(figures.operations, at: 0)
                    try Self.write(content, to: file, at: figures.bytes)
                    figures.operations += 1
                    figures.bytes += Int64(size)
                }
                try file.sync()
                now = clock.monotonicNanoseconds()
                for piece in first..<figures.operations {
                    figures.latency.record(nanoseconds: now - start - piece * interval)
                }
            }
            figures.nanoseconds = now - start
            return figures
        }
    }

    private func run(
        _ file: any File, _ size: Int, at position: (Int64) -> Int64
    ) throws(SystemError) -> ProbeFigures {
        let content = Self.random(size)
        var figures = ProbeFigures()
        let start = clock.monotonicNanoseconds()
        var now = start
        while now - start < nanoseconds {
            content.patch(figures.operations, at: 0)
            try Self.write(content, to: file, at: position(figures.operations))
            try file.sync()
            let end = clock.monotonicNanoseconds()
            figures.latency.record(nanoseconds: end - now)
            figures.operations += 1
            figures.bytes += Int64(size)
            now = end
        }
        figures.nanoseconds = now - start
        return figures
    }

    private func withFile(
        _ body: (any File) throws(SystemError) -> ProbeFigures
    ) throws(SystemError) -> ProbeFigures {
        let path = "\(directory)/martlet-bench-\(CurrentProcess.id).tmp"
        let file = try fileSystem.open(path, .createNew)
        do throws(SystemError) {
            let figures = try body(file)
            try fileSystem.removeFile(path)
            return figures
        } catch {
            do throws(SystemError) {
                try fileSystem.removeFile(path)
            } catch {
                // The first error says more.
            }
            throw error
        }
    }

    private static func write(
        _ slab: ByteSlab, to file: any File, at position: Int64
    ) throws(SystemError) {
        try unsafe slab.withUnsafeBytes(0..<slab.count) { bytes throws(SystemError) in
            try unsafe file.write(bytes, at: position)
        }
    }

    /// Bytes that no disk can shrink.
    static func random(_ size: Int) -> ByteSlab {
        let slab = ByteSlab(capacity: size)
        var random = BenchRandom(seed: 1)
        while slab.freeCapacity >= 8 { slab.append(random.next()) }
        while slab.freeCapacity > 0 { slab.append(UInt8(0)) }
        return slab
    }
}
