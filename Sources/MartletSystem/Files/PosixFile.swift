import CMartletShim
import Glibc

/// A file of the operating system.
final class PosixFile: File {
    let path: String
    private let handle: Descriptor

    init(path: String, descriptor: CInt) {
        self.path = path
        self.handle = Descriptor(descriptor)
    }

    var descriptor: CInt? {
        let number = handle.value
        return number >= 0 ? number : nil
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        let number = handle.value
        return try SystemCall.transferAll(buffer.count) { done throws(SystemError) in
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            return try SystemCall.check("pread", self.path) {
                unsafe pread(number, rest.baseAddress, rest.count, off_t(position) + off_t(done))
            }
        }
    }

    func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int? {
        let number = handle.value
        var done = 0
        while done < buffer.count {
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            guard let address = rest.baseAddress else { break }
            let moved = SystemCall.retrying {
                unsafe martlet_preadv2_nowait(
                    number, address, rest.count, position + Int64(done)
                )
            }
            if moved == 0 { break }
            if moved < 0 {
                let code = errno
                // EOPNOTSUPP: this file system cannot tell, so the disk has to be asked.
                if code == EAGAIN || code == EOPNOTSUPP { return nil }
                throw SystemError(call: "preadv2", code: code, subject: path)
            }
            done += moved
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        let number = handle.value
        let done = try SystemCall.transferAll(bytes.count) { done throws(SystemError) in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            return try SystemCall.check("pwrite", self.path) {
                unsafe pwrite(number, rest.baseAddress, rest.count, off_t(position) + off_t(done))
            }
        }
        // A regular file never takes nothing; if one does, that is no success.
        if done != bytes.count { throw SystemError(call: "pwrite", code: EIO, subject: path) }
    }

    func sync() throws(SystemError) {
        try SystemCall.check("fdatasync", path) { fdatasync(handle.value) }
    }

    func size() throws(SystemError) -> Int64 {
        var status = stat()
        try SystemCall.check("fstat", path) { unsafe fstat(handle.value, &status) }
        return Int64(status.st_size)
    }

    func truncate(to size: Int64) throws(SystemError) {
        try SystemCall.check("ftruncate", path) { ftruncate(handle.value, off_t(size)) }
    }

    func dropCache(from position: Int64) {
        // Advice only: a refusal changes nothing that anybody relies on.
        _ = posix_fadvise(handle.value, off_t(position), 0, CInt(POSIX_FADV_DONTNEED))
    }

    func syncFileSystem() throws(SystemError) {
        try SystemCall.check("syncfs", path) { martlet_syncfs(handle.value) }
    }

    func checkWrites() throws(SystemError) {
        try SystemCall.check("sync_file_range", path) { martlet_write_errors(handle.value) }
    }

    func close() throws(SystemError) {
        try handle.close(path)
    }
}
