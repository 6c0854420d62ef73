import MartletFormat
package import MartletSystem
import MartletTelemetry
import Synchronization

/// Watches the free space: below the low mark, or after a write found the disk full, the broker
/// refuses producers in the open, gives back its reserve file, and goes on by itself when free
/// space is over the high mark again.
package final class DiskSpaceGuard: Sendable {
    private struct State {
        var low: Int64
        var high: Int64
        var reason: String?
        var space: FileSystemSpace?
    }

    private let reserveBytes: Int64
    private let directory: DataDirectory
    private let logger: Logger
    private let writable = Atomic<Bool>(true)
    private let state: Mutex<State>

    init(_ options: StorageOptions, _ directory: DataDirectory, _ logger: Logger) {
        state = Mutex(State(low: options.diskFreeLow, high: options.diskFreeHigh))
        reserveBytes = options.diskReserve
        self.directory = directory
        self.logger = logger
    }

    /// Whether producers are accepted; cheap, for every append.
    package var isWritable: Bool { writable.load(ordering: .relaxed) }
    package var reason: String { state.withLock { $0.reason ?? "" } }
    package var space: FileSystemSpace? { state.withLock { $0.space } }

    /// New marks; they count from the next look on.
    package func setMarks(low: Int64, high: Int64) {
        state.withLock { state in
            state.low = low
            state.high = high
        }
    }

    /// A write found no space.
    func didFill(_ what: String) {
        close("the disk is full: \(what)")
    }

    /// Looks at the free space. Blocks; called by housekeeping once a second.
    func check() {
        let found: FileSystemSpace
        do {
            found = try directory.fileSystem.space(at: directory.path)
        } catch {
            logger.warning("DISK_SPACE_UNKNOWN", "cannot read the free space: \(error)")
            return
        }
        let (low, high) = state.withLock { state in
            state.space = found
            return (state.low, state.high)
        }
        if found.available < low {
            close(
                "\(found.available) bytes are free, less than disk.free.low (\(low)); free space or add disk"
            )
        } else if !isWritable, found.available >= high {
            open(found.available)
        }
    }

    private func close(_ reason: String) {
        let wasOpen = state.withLock { state in
            defer { state.reason = reason }
            return state.reason == nil
        }
        writable.store(false, ordering: .relaxed)
        guard wasOpen else { return }
        logger.error(
            "DISK_FULL",
            "producers are refused: commits and acks of groups wait, too; reading goes on: "
                + reason)
        do {
            try directory.fileSystem.removeFile(directory.reserve)
        } catch  where error.isNotFound {
            return  // already given back
        } catch {
            logger.warning("RESERVE_NOT_FREED", "cannot remove the reserve file: \(error)")
        }
    }

    private func open(_ available: Int64) {
        state.withLock { $0.reason = nil }
        writable.store(true, ordering: .relaxed)
        logger.notice(
            "DISK_SPACE_BACK", "\(available) bytes are free: producers are accepted again")
        makeReserve()
    }

    /// Makes the file whose removal gives commits and marks room on a full disk.
    func makeReserve() {
        do {
            if try directory.fileSystem.status(directory.reserve) != nil { return }
            let file = try directory.fileSystem.open(directory.reserve, .createOrOpen)
            let zeros = ByteSlabZeros.megabyte
            var position: Int64 = 0
            while position < reserveBytes {
                try file.write(zeros, at: position)
                position += Int64(zeros.count)
            }
        } catch {
            logger.warning("RESERVE_NOT_MADE", "cannot make the reserve file: \(error)")
        }
    }
}
