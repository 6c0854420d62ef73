import Glibc
import MartletSystem
import Synchronization

/// The machine's file system, except that there may be no room for marks, or for other files whose
/// paths have a part.
final class FullMarksFileSystem: ForwardingFileSystem {
    let base = PosixFileSystem()
    let isFull = Atomic(false)
    private let part: String

    init(_ part: String = "/marks-") { self.part = part }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        let file = try base.open(path, mode)
        return path.contains(part) ? FullMarksFile(file, self) : file
    }
}

final class FullMarksFile: ForwardingFile {
    let base: any File
    private let owner: FullMarksFileSystem

    init(_ base: any File, _ owner: FullMarksFileSystem) {
        self.base = base
        self.owner = owner
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        if owner.isFull.load(ordering: .relaxed) {
            throw SystemError(call: "pwrite", code: ENOSPC, subject: path)
        }
        try unsafe base.write(bytes, at: position)
    }
}
