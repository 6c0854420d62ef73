import Glibc
import MartletSystem
import MartletTestSupport
import Synchronization

/// The real file system with faults that a test switches on.
final class FaultyFileSystem: ForwardingFileSystem {
    struct Faults {
        /// `errno` of the next syncs of log files; 0: none.
        var syncCode: CInt = 0
        /// `errno` of writes to log files; 0: none.
        var writeCode: CInt = 0
        /// Only files whose paths have this in them cannot be written.
        var writePath = ""
        /// The next of these writes tells the first, and waits for the second.
        var stuckWrite: (reached: Latch, mayGoOn: Latch)?
        /// So many writes to them go well before.
        var writesBefore = 0
        /// `errno` of reads of log files, which then are never in the page cache; 0: none.
        var readCode: CInt = 0
        /// Log files are never in the page cache.
        var isCold = false
        /// Reads of log files wait for it.
        var readGate: Latch?
        /// Paths of the log files that were read, once for each time.
        var reads: [String] = []
        /// How often the marks were synced.
        var marksSyncs = 0
        /// Syncs of the marks tell the first, and wait for the second.
        var stuckMarks: (reached: Latch, mayGoOn: Latch)?
        /// Syncs of log files wait for it.
        var gate: Latch?
        /// A compaction that begins a segment tells the first, and waits for the second.
        var compaction: (reached: Latch, mayGoOn: Latch)?
    }

    let faults = Mutex(Faults())
    let base = PosixFileSystem()

    func set(_ change: (inout Faults) -> Void) {
        faults.withLock { change(&$0) }
    }

    var reads: [String] { faults.withLock { $0.reads } }
    var marksSyncs: Int { faults.withLock { $0.marksSyncs } }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        if path.hasSuffix(".log.tmp"), !path.contains("marks-"),
            let compaction = faults.withLock({ $0.compaction })
        {
            compaction.reached.arrive()
            _ = compaction.mayGoOn.wait()
        }
        let file = try base.open(path, mode)
        if path.contains("marks-") { return WatchedMarks(file, self) }
        return path.hasSuffix(".log") ? FaultyFile(file, self) : file
    }
}

private final class WatchedMarks: ForwardingFile {
    let base: any File
    private let system: FaultyFileSystem

    init(_ base: any File, _ system: FaultyFileSystem) {
        self.base = base
        self.system = system
    }

    func sync() throws(SystemError) {
        let stuck = system.faults.withLock { faults in
            faults.marksSyncs += 1
            return faults.stuckMarks
        }
        if let stuck {
            stuck.reached.arrive()
            _ = stuck.mayGoOn.wait()
        }
        try base.sync()
    }
}

private final class FaultyFile: ForwardingFile {
    let base: any File
    private let system: FaultyFileSystem

    init(_ base: any File, _ system: FaultyFileSystem) {
        self.base = base
        self.system = system
    }

    var descriptor: CInt? {
        system.faults.withLock { $0.readCode == 0 && !$0.isCold } ? base.descriptor : nil
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        let faults = system.faults.withLock { faults in
            if faults.readGate != nil { faults.reads.append(path) }
            return (gate: faults.readGate, code: faults.readCode)
        }
        if let gate = faults.gate { _ = gate.wait() }
        let code = faults.code
        guard code == 0 else { throw SystemError(call: "pread", code: code, subject: path) }
        return try unsafe base.read(into: buffer, at: position)
    }

    func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int? {
        guard system.faults.withLock({ $0.readCode == 0 && !$0.isCold }) else { return nil }
        return try unsafe base.readIfCached(into: buffer, at: position)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        let stuck = system.faults.withLock { faults -> (reached: Latch, mayGoOn: Latch)? in
            guard path.contains(faults.writePath) else { return nil }
            defer { faults.stuckWrite = nil }
            return faults.stuckWrite
        }
        if let stuck {
            stuck.reached.arrive()
            _ = stuck.mayGoOn.wait()
        }
        let code = system.faults.withLock { faults in
            guard faults.writePath.isEmpty || path.contains(faults.writePath) else {
                return CInt(0)
            }
            guard faults.writesBefore == 0 else {
                faults.writesBefore -= 1
                return 0
            }
            return faults.writeCode
        }
        guard code == 0 else { throw SystemError(call: "pwrite", code: code, subject: path) }
        try unsafe base.write(bytes, at: position)
    }

    func sync() throws(SystemError) {
        let faults = system.faults.withLock { $0 }
        if let gate = faults.gate { _ = gate.wait(seconds: 30) }
        guard faults.syncCode == 0 else {
            throw SystemError(call: "fdatasync", code: faults.syncCode, subject: path)
        }
        try base.sync()
    }

    func syncFileSystem() throws(SystemError) {
        let faults = system.faults.withLock { $0 }
        if let gate = faults.gate { _ = gate.wait(seconds: 30) }
        guard faults.syncCode == 0 else {
            throw SystemError(call: "syncfs", code: faults.syncCode, subject: path)
        }
        try base.syncFileSystem()
    }
}
