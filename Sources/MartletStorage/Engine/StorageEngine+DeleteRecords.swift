import MartletFormat

extension StorageEngine {
    /// Raises the log starts of many partitions with one write and one sync of the marks: what one
    /// request asks for holds up what is behind it for one sync, not for one per partition. Blocks.
    ///
    /// - Parameter wanted: Records below `before` go; -1: all that readers see. A partition may be named
    ///   several times: the highest counts.
    /// - Returns: the log start of each, in the same order, once it is on disk; it never goes back.
    ///   `offsetOutOfRange` when `before` is above the high watermark. What kept the marks from the disk
    ///   is told of each partition whose log start was to move.
    package func deleteRecords(
        _ wanted: [(log: PartitionLog, before: Int64)]
    ) -> [Result<Int64, StorageError>] {
        let targets = wanted.map { log, before -> Result<Int64, StorageError> in
            do throws(StorageError) {
                return .success(try log.newLogStart(before: before))
            } catch {
                return .failure(error)
            }
        }
        var moves: [PartitionKey: (log: PartitionLog, target: Int64)] = [:]
        for ((log, _), target) in zip(wanted, targets) {
            guard case .success(let target) = target else { continue }
            moves[log.key] = (log, max(target, moves[log.key]?.target ?? 0))
        }
        let failure = moveLogStarts(moves.values.filter { $0.target > $0.log.view.logStart })
        for (log, _) in moves.values { log.retainSoon() }
        return zip(wanted, targets).map { wanted, target in
            guard case .success(let target) = target else { return target }
            let start = wanted.log.view.logStart
            if let failure, start < target { return .failure(failure) }
            return .success(start)
        }
    }

    private func moveLogStarts(
        _ moves: [(log: PartitionLog, target: Int64)]
    ) -> StorageError? {
        if moves.isEmpty { return nil }
        do throws(StorageError) {
            try context.syncMarks(moves.map { $0.log.startMark($0.target) })
        } catch {
            return error
        }
        for (log, target) in moves {
            log.didMoveLogStart(to: target)
            context.consumed.released(log, below: target)
        }
        return nil
    }
}
