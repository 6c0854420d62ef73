/// Offsets that no record has: a `written` topic goes on above them after a stop that was not in order,
/// and a person lets readers pass damage.
extension Coordinator {
    /// What of them is to be settled before members are handed more, in records of bounded size.
    func vacating(
        _ name: String, _ queue: QueueID, _ progress: QueueProgress, _ gaps: Gaps, below end: Int64
    ) -> [GroupRecord] {
        // Of what was sent again, members pass over them.
        guard queue.lane == .flow, limits.plantedBug != .handOutGaps else { return [] }
        let known = gaps(queue.partition).filter { $0.upperBound > progress.floor }
        if known.isEmpty { return [] }
        let visible = known.map { $0.clamped(to: progress.start..<max(end, progress.start)) }
        let vacant = progress.empty(visible, groups[name]?.activity.queues[queue])
        return vacant.chunks.map { .queue(group: name, queue, .vacant($0)) }
    }
}
