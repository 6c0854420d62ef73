import Glibc
import MartletSystem
import Synchronization

/// What a disk holds at one moment: a value, so that a moment is kept by copying it.
///
/// Each file has the content that processes see (`cached`), the content that is on the device
/// (`durable`) and the changes in between, in order; each directory the same with its entries.
struct DiskState: Sendable {
    enum Change: Sendable {
        case write(position: Int, bytes: [UInt8])
        case truncate(size: Int)
    }

    enum EntryChange: Sendable {
        case link(name: String, node: Int)
        case unlink(name: String)
        case rename(from: String, to: String, node: Int)
    }

    struct Node: Sendable {
        var isDirectory = false
        var cached: [UInt8] = []
        var durable: [UInt8] = []
        var pending: [Change] = []
        /// A write-back failed, and nobody was told yet.
        var hasLostPages = false
        var entries: [String: Int] = [:]
        var durableEntries: [String: Int] = [:]
    }

    /// A directory change that is not on the device; the order is that of all directories.
    struct PendingEntry: Sendable {
        let directory: Int
        let change: EntryChange
    }

    var nodes: [Int: Node] = [0: Node(isDirectory: true)]
    var pendingEntries: [PendingEntry] = []
    var nextNode = 1

    static func apply(_ change: Change, to content: inout [UInt8]) {
        switch change {
        case .write(let position, let bytes):
            let end = position + bytes.count
            if content.count < end {
                content.append(contentsOf: repeatElement(0, count: end - content.count))
            }
            content.replaceSubrange(position..<end, with: bytes)
        case .truncate(let size):
            if content.count > size {
                content.removeSubrange(size...)
            } else {
                content.append(contentsOf: repeatElement(0, count: size - content.count))
            }
        }
    }

    static func apply(_ change: EntryChange, to entries: inout [String: Int]) {
        switch change {
        case .link(let name, let node): entries[name] = node
        case .unlink(let name): entries[name] = nil
        case .rename(let from, let to, let node):
            if entries[from] == node { entries[from] = nil }
            entries[to] = node
        }
    }

    mutating func change(_ directory: Int, _ change: EntryChange) {
        guard nodes[directory] != nil else { return }
        Self.apply(change, to: &nodes[directory, default: Node()].entries)
        pendingEntries.append(PendingEntry(directory: directory, change: change))
    }

    mutating func change(_ file: Int, _ change: Change) {
        Self.apply(change, to: &nodes[file, default: Node()].cached)
        nodes[file, default: Node()].pending.append(change)
    }

    mutating func sync(file: Int) {
        guard var node = nodes[file] else { return }
        nodes[file] = nil
        for change in node.pending { Self.apply(change, to: &node.durable) }
        node.pending = []
        nodes[file] = node
    }

    mutating func sync(directory: Int) {
        guard var node = nodes[directory] else { return }
        pendingEntries.removeAll { entry in
            guard entry.directory == directory else { return false }
            Self.apply(entry.change, to: &node.durableEntries)
            return true
        }
        nodes[directory] = node
    }

    /// The write-back of all files but one failed: their pages count as clean, but are not on the
    /// device.
    mutating func losePages(but lucky: Int) {
        sync(file: lucky)
        for (id, node) in nodes where !node.pending.isEmpty {
            nodes[id]?.pending = []
            nodes[id]?.hasLostPages = true
        }
    }

    mutating func syncAll() {
        for id in Array(nodes.keys) { sync(file: id) }
        for entry in pendingEntries {
            Self.apply(entry.change, to: &nodes[entry.directory, default: Node()].durableEntries)
        }
        pendingEntries = []
    }
}

/// What a simulated disk does wrong, and when.
struct DiskFault: Sendable {
    enum Kind: Sendable {
        /// Every kind of operation fails with EIO; a failed sync drops what it should have written.
        case inputOutput
        /// Operations that need space fail with ENOSPC, a write after a part of it. A name needs some,
        /// too.
        case noSpace
    }

    let kind: Kind
    /// The first operation that fails.
    let operation: Int
    /// Every later one fails too, until the fault is taken away.
    let isLasting: Bool
}

/// A disk in memory whose content can be copied before any operation and made into what a crash at
/// that moment would leave (`CrashImage`).
final class CrashDisk: FileSystem {
    struct State {
        var disk: DiskState
        var operations = 0
        var locks: Set<String> = []
        var fault: DiskFault?
        var faultHits = 0
        /// It was asked for its free space, and had none.
        var saidFull = false
        /// A sync failed: final for the process that asked for it.
        var failedSync = false
        var trace: [String] = []
        /// Called before each operation that changes or syncs something.
        var observer: (@Sendable (_ operation: Int, _ disk: DiskState) -> Void)?
    }

    private let state: Mutex<State>

    init(_ disk: DiskState = DiskState()) { state = Mutex(State(disk: disk)) }

    var disk: DiskState { state.withLock { $0.disk } }
    var operations: Int { state.withLock { $0.operations } }
    var trace: [String] { state.withLock { $0.trace } }
    func note(_ text: @autoclosure () -> String) {
        guard CampaignSettings.traces else { return }
        let text = text()
        state.withLock { $0.trace.append(text) }
    }
    var faultHits: Int { state.withLock { $0.faultHits } }
    /// Something failed, or will be refused for want of space.
    var isAtFault: Bool { state.withLock { $0.faultHits > 0 || $0.saidFull } }
    var failedSync: Bool { state.withLock { $0.failedSync } }
    func observe(_ observer: (@Sendable (Int, DiskState) -> Void)?) {
        state.withLock { $0.observer = observer }
    }
    /// A new process knows nothing of what failed before.
    func forgetFailures() { state.withLock { $0.failedSync = false } }
    func setFault(_ fault: DiskFault?) { state.withLock { $0.fault = fault } }

    /// What kind of operation is about to be done, for faults.
    enum Operation { case write, create, rename, remove, truncate, sync }

    /// Runs one operation: tells the observer, then fails it or does it.
    func perform(
        _ operation: Operation, _ call: String, _ path: String,
        isSilent: Bool = false, partly: (inout DiskState) -> Void = { _ in },
        _ body: (inout DiskState) -> CInt
    ) throws(SystemError) {
        let watch = state.withLock { state in
            state.observer.map { ($0, state.operations, state.disk) }
        }
        if let (observer, count, disk) = watch { observer(count, disk) }
        let code: CInt = state.withLock { state in
            let number = state.operations
            state.operations += 1
            if CampaignSettings.traces { state.trace.append("\(number) \(call) \(path)") }
            if let fault = state.fault,
                number == fault.operation
                    || (fault.isLasting && number > fault.operation)
            {
                switch fault.kind {
                case .inputOutput:
                    state.faultHits += 1
                    if isSilent {
                        partly(&state.disk)
                        return 0
                    }
                    if operation == .sync { state.failedSync = true }
                    partly(&state.disk)
                    return EIO
                case .noSpace:
                    switch operation {
                    case .write, .create, .rename, .sync:
                        if operation == .sync, fault.isLasting { break }
                        state.faultHits += 1
                        if operation == .sync { state.failedSync = true }
                        partly(&state.disk)
                        return ENOSPC
                    case .remove, .truncate: break
                    }
                }
            }
            let code = body(&state.disk)
            if code != 0, operation == .sync { state.failedSync = true }
            return code
        }
        if code != 0 { throw SystemError(call: call, code: code, subject: path) }
    }

    func read<R>(_ body: (DiskState) -> R) -> R { state.withLock { body($0.disk) } }

    // MARK: paths

    private static func parts(_ path: String) -> [String] {
        path.split(separator: "/").map(String.init)
    }

    private static func find(_ path: String, _ disk: DiskState) -> Int? {
        var node = 0
        for part in parts(path) {
            guard let next = disk.nodes[node]?.entries[part] else { return nil }
            node = next
        }
        return node
    }

    private static func parent(_ path: String, _ disk: DiskState) -> (node: Int, name: String)? {
        let parts = parts(path)
        guard let name = parts.last,
            let node = find(parts.dropLast().joined(separator: "/"), disk)
        else { return nil }
        return (node, name)
    }

    // MARK: FileSystem

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        let found = read { Self.find(path, $0) }
        switch (mode, found) {
        case (.readOnly, let node?), (.readWrite, let node?), (.createOrOpen, let node?):
            return CrashFile(path, node, self)
        case (.readOnly, nil), (.readWrite, nil):
            throw SystemError(call: "open", code: ENOENT, subject: path)
        case (.createNew, .some):
            throw SystemError(call: "open", code: EEXIST, subject: path)
        case (.createNew, nil), (.createOrOpen, nil):
            return CrashFile(path, try make(path, isDirectory: false), self)
        }
    }

    private func make(_ path: String, isDirectory: Bool) throws(SystemError) -> Int {
        var made = -1
        try perform(.create, isDirectory ? "mkdir" : "open", path) { disk in
            guard let (parent, name) = Self.parent(path, disk) else { return ENOENT }
            guard disk.nodes[parent]?.entries[name] == nil else { return EEXIST }
            made = disk.nextNode
            disk.nextNode += 1
            disk.nodes[made] = DiskState.Node(isDirectory: isDirectory)
            disk.change(parent, .link(name: name, node: made))
            return 0
        }
        return made
    }

    func status(_ path: String) throws(SystemError) -> FileStatus? {
        read { disk in
            guard let id = Self.find(path, disk), let node = disk.nodes[id] else { return nil }
            return FileStatus(
                kind: node.isDirectory ? .directory : .file, size: Int64(node.cached.count))
        }
    }

    func list(_ directory: String) throws(SystemError) -> [String] {
        let names = read { disk -> [String]? in
            guard let id = Self.find(directory, disk) else { return nil }
            return disk.nodes[id]?.entries.keys.sorted()
        }
        guard let names else {
            throw SystemError(call: "opendir", code: ENOENT, subject: directory)
        }
        return names
    }

    func makeDirectory(_ path: String) throws(SystemError) {
        _ = try make(path, isDirectory: true)
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        try perform(.rename, "rename", from) { disk in
            guard let (source, oldName) = Self.parent(from, disk),
                let (target, newName) = Self.parent(to, disk),
                let node = disk.nodes[source]?.entries[oldName]
            else { return ENOENT }
            guard source == target else { return EXDEV }
            disk.change(source, .rename(from: oldName, to: newName, node: node))
            return 0
        }
    }

    func removeFile(_ path: String) throws(SystemError) { try remove(path) }
    func removeDirectory(_ path: String) throws(SystemError) { try remove(path) }

    private func remove(_ path: String) throws(SystemError) {
        try perform(.remove, "unlink", path) { disk in
            guard let (parent, name) = Self.parent(path, disk),
                let node = disk.nodes[parent]?.entries[name]
            else { return ENOENT }
            if disk.nodes[node]?.entries.isEmpty == false { return ENOTEMPTY }
            disk.change(parent, .unlink(name: name))
            return 0
        }
    }

    func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try perform(.create, "link", new) { disk in
            guard let node = Self.find(existing, disk), let (parent, name) = Self.parent(new, disk)
            else { return ENOENT }
            disk.change(parent, .link(name: name, node: node))
            return 0
        }
    }

    func syncDirectory(_ path: String) throws(SystemError) {
        try perform(.sync, "fsync", path) { disk in
            guard let node = Self.find(path, disk) else { return ENOENT }
            disk.sync(directory: node)
            return 0
        }
    }

    func space(at path: String) throws(SystemError) -> FileSystemSpace {
        let isFull = state.withLock { state in
            guard let fault = state.fault, case .noSpace = fault.kind, fault.isLasting else {
                return false
            }
            guard state.operations >= fault.operation else { return false }
            state.saidFull = true
            return true
        }
        return FileSystemSpace(total: 1 << 40, available: isFull ? 0 : 1 << 39)
    }

    func lock(_ path: String) throws(SystemError) -> (any FileLock)? {
        _ = try open(path, .createOrOpen)
        let isFree = state.withLock { $0.locks.insert(path).inserted }
        return isFree ? CrashLock(path, self) : nil
    }

    /// The process that held locks is gone.
    func unlockAll() { state.withLock { $0.locks = [] } }

    fileprivate func unlock(_ path: String) {
        state.withLock { _ = $0.locks.remove(path) }
    }
}

private final class CrashLock: FileLock {
    private let path: String
    private let disk: CrashDisk
    init(_ path: String, _ disk: CrashDisk) {
        self.path = path
        self.disk = disk
    }
    func release() { disk.unlock(path) }
}

/// An open file of a `CrashDisk`; goes on working when its name is gone.
private final class CrashFile: File {
    let path: String
    private let node: Int
    private let disk: CrashDisk

    init(_ path: String, _ node: Int, _ disk: CrashDisk) {
        self.path = path
        self.node = node
        self.disk = disk
    }

    var descriptor: CInt? { nil }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        disk.read { disk in
            guard let content = disk.nodes[node]?.cached, position < content.count else { return 0 }
            let start = Int(position)
            let count = min(buffer.count, content.count - start)
            unsafe content.withUnsafeBytes { bytes in
                unsafe buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + count)]))
            }
            return count
        }
    }

    func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int? {
        unsafe try read(into: buffer, at: position)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        let content = unsafe Array(bytes)
        let node = node
        try disk.perform(
            .write, "pwrite", path,
            partly: { disk in
                // A part of it is there when a write fails.
                let count = content.count * 2 / 3
                guard count > 0 else { return }
                disk.change(
                    node, .write(position: Int(position), bytes: Array(content[..<count])))
            }
        ) { disk in
            disk.change(node, .write(position: Int(position), bytes: content))
            return 0
        }
    }

    func sync() throws(SystemError) {
        let node = node
        try disk.perform(
            .sync, "fdatasync", path,
            // The pages count as clean, but are not on the device (fsyncgate).
            partly: { $0.nodes[node]?.pending = [] }
        ) { disk in
            if disk.nodes[node]?.hasLostPages == true {
                disk.nodes[node]?.hasLostPages = false
                return EIO
            }
            disk.sync(file: node)
            return 0
        }
    }

    func size() throws(SystemError) -> Int64 {
        disk.read { Int64($0.nodes[node]?.cached.count ?? 0) }
    }

    func truncate(to size: Int64) throws(SystemError) {
        let node = node
        try disk.perform(.truncate, "ftruncate", path) { disk in
            if disk.nodes[node]?.cached.count != Int(size) {
                disk.change(node, .truncate(size: Int(size)))
            }
            return 0
        }
    }

    func dropCache(from position: Int64) {
        disk.dropCache(node)
    }

    func syncFileSystem() throws(SystemError) {
        // It need not be told of a write that failed; who asks the file itself is (syncfs(2)).
        let node = node
        try disk.perform(
            .sync, "syncfs", path, isSilent: true, partly: { $0.losePages(but: node) }
        ) { disk in
            disk.syncAll()
            return 0
        }
    }

    func checkWrites() throws(SystemError) {
        if disk.tellsLostPages(node) {
            throw SystemError(call: "sync_file_range", code: EIO, subject: path)
        }
    }

    func close() throws(SystemError) {}
}

extension CrashDisk {
    /// Once.
    fileprivate func tellsLostPages(_ node: Int) -> Bool {
        state.withLock { state in
            defer { state.disk.nodes[node]?.hasLostPages = false }
            return state.disk.nodes[node]?.hasLostPages == true
        }
    }

    /// Clean pages are read from the device again.
    fileprivate func dropCache(_ node: Int) {
        state.withLock { state in
            guard var found = state.disk.nodes[node] else { return }
            found.cached = found.durable
            for change in found.pending { DiskState.apply(change, to: &found.cached) }
            state.disk.nodes[node] = found
        }
    }
}
