import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// The start had no space for what it had to write: nothing is appended before it is done.
    package var isReadOnly: Bool { appender.withLock { $0.readOnly != nil } }

    /// What a start does with the bytes behind the last whole batch of a segment. Nothing is appended
    /// meanwhile.
    fileprivate func cutTornTails() throws(StorageError) {
        for segment in appender.withLock({ $0.uncut }) {
            // Retention may have taken it.
            guard state.withLock({ $0.segment(base: segment.base) }) === segment else { continue }
            try cutTornTail(segment)
        }
    }

    private func cutTornTail(_ segment: Segment) throws(StorageError) {
        let end = segment.bytes
        let file = try segment.log.open()
        let size = try storage("reading \(file.path)") { () throws(SystemError) in
            try file.size()
        }
        guard size > end else { return }
        let kept = try TornTails(directory: directory, context: context)
            .cut(file, segment.base, at: end, size: size)
        guard kept > 0 else { return }
        context.logger.notice(
            "RECOVERY", "\(RecoveryEvent.Kind.tornTail.rawValue): kept in a .torn file",
            [("partition", .string(name)), ("bytes", .integer(kept))])
    }

    fileprivate func takeAppends() {
        appender.withLock { appender in
            appender.readOnly = nil
            appender.uncut = []
            // Who opened the files before took the torn bytes for space written ahead.
            let end = appender.tail.position
            appender.files?.aheadEnd = end
        }
    }
}

extension StorageEngine {
    /// Does what the start had no space for as soon as there is some, and lets producers in.
    /// Upkeep; blocks.
    func recoverReadOnly(_ topic: Topic) {
        guard context.space.isWritable, topic.partitions.contains(where: \.isReadOnly) else {
            return
        }
        do {
            try changes.withLock { _ throws(StorageError) in try recover(topic) }
        } catch {
            if error.isFatal { return context.fail(error) }
            if error.code == .diskFull { return context.space.didFill(error.message) }
            if error.code == .noDescriptors { return context.lacksDescriptors(error) }
            context.logger.warning(
                "RECOVERY_PUT_OFF", "topic \(topic.name) stays read-only: \(error.message)")
        }
    }

    private func recover(_ topic: Topic) throws(StorageError) {
        // Nothing of one that was deleted meanwhile.
        guard self.topic(id: topic.id) === topic else { return }
        let logs = topic.partitions.filter(\.isReadOnly)
        var metadata = topic.metadata
        for log in logs {
            try log.cutTornTails()
            let gaps = log.state.withLock { $0.gaps }
            if gaps != metadata.gaps[log.partition] ?? [] { metadata.gaps[log.partition] = gaps }
        }
        // On disk before anything is appended behind a gap.
        if metadata != topic.metadata {
            try store.update(metadata)
            topic.update(metadata, topic.settings)
        }
        for log in logs { log.takeAppends() }
        context.logger.notice(
            "PARTITIONS_WRITABLE",
            "topic \(topic.name) has the space that the start wanted: producers are accepted",
            [("partitions", .integer(Int64(logs.count)))])
    }
}
