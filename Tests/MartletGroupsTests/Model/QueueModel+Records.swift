import Testing

@testable import MartletGroups

/// The list of what is owed, held against the model.
extension QueueModel {
    private typealias Run = Coordinator.RecordRun

    /// All of it, in pages of few lines.
    func checkRecords() {
        guard let state = harness.coordinator.groups["g"]?.state else { return }
        let listed = listed()
        for key in Self.keys + Self.replays where state.queues[key] != nil {
            let runs = listed.filter { $0.queue == key }
            var left = entries[key] ?? [:]
            for run in runs {
                for offset in run.range {
                    guard let entry = left.removeValue(forKey: offset) else {
                        Issue.record("\(offset) is not owed, or listed twice: \(run)")
                        return
                    }
                    check(run, entry)
                }
            }
            let first = bounds[key.partition]?.lowerBound ?? 0
            let missing = left.filter { $0.key >= first && !$0.value.isSettled }
            #expect(missing.isEmpty, "nobody lists them")
        }
    }

    private func listed() -> [Run] {
        var query = Coordinator.RecordQuery()
        query.runsMax = 7
        var runs: [Run] = []
        // As many pages as there can be lines.
        for _ in 0..<100_000 {
            guard
                let page = try? harness.coordinator.records(
                    of: "g", query, bounds: { bounds[$0] }, at: harness.now)
            else {
                Issue.record("refused")
                break
            }
            runs += page.runs
            guard let next = page.next else { return runs }
            query.place = next
        }
        Issue.record("the pages have no end")
        return runs
    }

    private func check(_ run: Run, _ entry: Entry) {
        let words: Comment = "\(run) is \(entry)"
        #expect(!entry.isSettled && run.attempts == entry.attempts, words)
        switch run.state {
        case .inFlight:
            #expect(entry.heldUntil > harness.now.monotonic && run.member == entry.member, words)
            let left = (entry.heldUntil - harness.now.monotonic) / 1_000_000
            #expect(run.at == harness.now.wall + left, words)
        case .delayed:
            let due = entry.delayedUntil ?? 0
            #expect(due > harness.now.monotonic && run.at != nil, words)
        case .ready:
            #expect(entry.heldUntil <= harness.now.monotonic, words)
            #expect(entry.delayedUntil ?? 0 <= harness.now.monotonic, words)
        case .parked: Issue.record("nobody parks here: \(run)")
        }
    }
}
