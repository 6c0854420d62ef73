import MartletFormat
import MartletStorage
import MartletSystem

/// Knows whether bytes of a file can be sent without waiting for the disk, and reads those that
/// cannot.
struct Residency: Sendable {
    /// Whether the page cache holds all of the part.
    func isResident(_ part: FilePart) -> Bool {
        guard let descriptor = part.file.descriptor else { return false }
        let end = part.position + Int64(part.count)
        do throws(SystemError) {
            // A mapping that nobody touches costs two short calls and no page.
            let mapping = try MappedFile(
                descriptor: descriptor, length: end, path: part.file.path)
            return mapping.isResident(part.position..<end)
        } catch {
            return false
        }
    }

    /// Up to here copying costs less than asking for residency and sending from the file.
    static let smallBytes = 32 * 1_024

    /// The plan's bytes, if the page cache holds them all and there is memory for them.
    func readIfCached(_ file: any File, _ plan: ReadPlan, _ memory: ReplyMemory) -> ReplySlab? {
        guard let reply = memory.slab(atLeast: plan.length) else { return nil }
        let slab = reply.slab
        do throws(SystemError) {
            try unsafe slab.fill(atMost: plan.length) { (free) throws(SystemError) -> Int in
                try unsafe file.readIfCached(into: free, at: plan.position) ?? 0
            }
        } catch {
            slab.clear()  // A reader queue meets the same error and answers it.
        }
        return slab.count == plan.length ? reply : nil
    }

    /// Reads the first `count` bytes of the part into an empty slab. Reader queue; blocks.
    func read(_ part: FilePart, _ count: Int, into slab: ByteSlab) throws(SystemError) {
        try unsafe slab.fill(atMost: count) { (free) throws(SystemError) -> Int in
            try unsafe part.file.read(into: free, at: part.position)
        }
        guard slab.count == count else {
            throw SystemError(call: "read", code: Self.ioError, subject: part.file.path)
        }
    }

    /// EIO: the file is shorter than the log says.
    private static let ioError: CInt = 5
}
