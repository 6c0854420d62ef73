import MartletFormat
import Testing

@testable import MartletGroups

/// What groups know, held against logs that end below it.
@Suite struct AheadTests {
    private let key = TopicPartition(TopicID(high: 1, low: 1), 0)
    private let other = TopicPartition(TopicID(high: 1, low: 1), 1)

    private func stream(_ committed: CommittedOffset) -> GroupHarness {
        var harness = GroupHarness()
        harness.take([
            .created(group: "g", at: 1, .stream),
            .granted(group: "g", key, .nobody, epoch: 7),
            .committed(group: "g", key, committed),
        ])
        return harness
    }

    private static let ahead: [(committed: CommittedOffset, target: Int64)] = [
        (CommittedOffset(offset: 9, at: 1), 6),
        (CommittedOffset(offset: 5, finished: [7..<12], at: 1), 5),
    ]

    @Test(arguments: ahead)
    func `a stream goes back to the end of its log, under a new epoch`(
        committed: CommittedOffset, target: Int64
    ) throws {
        var harness = stream(committed)
        harness.take(
            harness.coordinator.setBack(to: { _ in 6 }, at: harness.now), by: .broker)
        #expect(harness.events.map(\.kind) == [.groupReset])
        #expect(harness.events.map(\.reason) == ["ahead"])
        let state = try #require(harness.coordinator.groups["g"]?.state.partitions[key])
        #expect(state.committed?.offset == target && state.committed?.finished == [])
        #expect(state.epoch == 8 && state.owner == nil)
        #expect(harness.coordinator.setBack(to: { _ in 6 }, at: harness.now).isEmpty)
    }

    @Test func `a stream that is not ahead stays as it is`() {
        let harness = stream(CommittedOffset(offset: 2, finished: [5..<6], at: 1))
        #expect(harness.coordinator.setBack(to: { _ in 6 }, at: harness.now).isEmpty)
    }

    @Test func `where the log is not known nothing goes back`() {
        let harness = stream(CommittedOffset(offset: 9, at: 1))
        #expect(harness.coordinator.setBack(to: { _ in nil }, at: harness.now).isEmpty)
    }

    @Test func `what members of queues were handed counts, and commits do not`() {
        var harness = stream(CommittedOffset(offset: 90, at: 1))
        #expect(harness.coordinator.handedEnds[key] ?? 0 == 0)
        let queue = QueueID.flow(key)
        let steps: [(QueueChange, Int64)] = [
            (.began(at: 4), 4), (.acked([5..<8]), 8),
            (.delayed([10..<12], due: 99), 12), (.attempted([14..<15], times: 1), 15),
            (.parked(20, ParkedRecord(at: 1, isKey: false)), 21),
        ]
        harness.take([.created(group: "q", at: 1, .queue(from: .earliest))])
        for (change, end) in steps {
            harness.take([.queue(group: "q", queue, change)])
            #expect(harness.coordinator.handedEnds == [key: end])
        }
        // What was sent again was there, too.
        harness.take([.queue(group: "q", .replay(other), .reopened([3..<50]))])
        #expect(harness.coordinator.handedEnds == [key: 21, other: 50])
        harness.take([.queue(group: "q", .replay(other), .acked([3..<50]))])
        #expect(harness.coordinator.handedEnds == [key: 21])
        #expect(harness.coordinator.setBack(to: { _ in 0 }, at: harness.now).map(\.group) == ["g"])
    }

    @Test func `what was said of records of a stream that are not there is forgotten`() throws {
        let queue = QueueID.flow(key)
        for isAhead in [true, false] {
            var harness = stream(CommittedOffset(offset: isAhead ? 9 : 4, at: 1))
            let words = HandlerFailure(.transient, kind: "K", text: "t", at: 1)
            for offset in [Int64(5), 6, 7] {
                harness.take([
                    .queue(group: "g", queue, .attempted([offset..<offset + 1], times: 3)),
                    .queue(
                        group: "g", queue, .failed(offset, FailureTrail(first: words, last: words))),
                ])
            }
            harness.take([
                .queue(group: "g", queue, .attempted([7..<8], times: 1)),
                .queue(group: "g", queue, .parked(6, ParkedRecord(at: 1, isKey: true))),
                .queue(group: "g", queue, .parked(5, ParkedRecord(at: 1, isKey: true))),
            ])
            harness.take(harness.coordinator.setBack(to: { _ in 6 }, at: harness.now), by: .broker)
            let state = try #require(harness.coordinator.groups["g"]?.state)
            let progress = try #require(state.queues[queue])
            #expect(progress.attempts.keys.allSatisfy { $0 < 6 })
            #expect(progress.failures.keys.allSatisfy { $0 < 6 })
            #expect(progress.unanswered.ranges.allSatisfy { $0.upperBound <= 6 })
            // A reset releases all that is parked.
            #expect(progress.parked.keys.sorted() == (isAhead ? [] : [5]))
            #expect(harness.coordinator.setBack(to: { _ in 6 }, at: harness.now).isEmpty)
        }
    }

    @Test func `an empty log is not behind a queue that had nothing of it`() {
        var harness = GroupHarness()
        harness.take([
            .created(group: "q", at: 1, .queue(from: .earliest)),
            .queue(group: "q", .flow(key), .began(at: 0)),
        ])
        #expect(harness.coordinator.handedEnds.isEmpty)
    }

    @Test func `dead letters in their topic count`() throws {
        var harness = GroupHarness()
        harness.take([.created(group: "g", at: 1, .stream)])
        #expect(harness.coordinator.handedEnds.isEmpty)
        let letters = TopicPartition(TopicID(high: 3, low: 3), 0)
        harness.take([.letter(group: "g", .stored(1, in: letters, at: 7))])
        #expect(harness.coordinator.handedEnds == [letters: 8])
    }
}
