/// What members of the queue group are handed while it stands still: nothing, if they asked after
/// that was said to hold. (Members of a stream group may hear then what they have had before.)
struct PauseHistory {
    private var since: Int64?

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        switch (event.operation, event.word) {
        case (.nemesis, "pause") where event.member == HistoryWorker.queueGroup:
            since = event.time
            findings.check(.pausedGrant, true, "")
        case (.nemesis, "resume") where event.member == HistoryWorker.queueGroup: since = nil
        case (.deliver, _) where event.kind == QueueScene.free.rawValue:
            guard let since else { return }
            findings.check(
                .pausedGrant, event.asked <= since,
                "partition \(event.partition): delivery \(event.delivery)")
        default: break
        }
    }
}
