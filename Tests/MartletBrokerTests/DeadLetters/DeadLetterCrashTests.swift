import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletBroker

/// A record dies, its topic gets it, `$groups` notes where, it is sent again and acked: with a crash
/// before each disk operation of all that.
@Suite(.timeLimit(.minutes(5))) struct DeadLetterCrashTests {
    /// What was answered as done before the crash.
    private struct Said {
        var died = false
        /// It was asked for, and then nobody may know.
        var askedToAssign = false
        var assigned = false
        /// It was asked for, and then nobody may know.
        var askedToReplay = false
        var replayed = false
        var acked = false
        /// The other record, which no handler fails with.
        var other = false
    }

    @Test func `a death and its replay survive a crash before any disk operation, once`() throws {
        let plan = Plan()
        let finished = Latch(Self.workers)
        for _ in 0..<Self.workers {
            DetachedThread.start("crash") {
                while let operations = plan.next() {
                    #expect(throws: Never.self) {
                        if try live(operations) { plan.end() }
                    }
                }
                finished.arrive()
            }
        }
        #expect(finished.wait(seconds: 240))
        // Entries, notes, syncs and marks of four steps, and a topic that is made.
        #expect(20..<Plan.most ~= plan.count, "\(plan.count) disk operations")
    }

    /// Each waits for its own disk most of the time.
    private static let workers = 6

    /// One number of operations after the other, until with one of them all is done.
    private final class Plan: Sendable {
        static let most = 500
        private let state = Mutex((next: 0, isOver: false))

        func next() -> Int? {
            state.withLock { state in
                guard !state.isOver, state.next < Self.most else { return nil }
                defer { state.next += 1 }
                return state.next
            }
        }

        func end() { state.withLock { $0.isOver = true } }
        var count: Int { state.withLock { $0.next } }
    }

    /// Whether all of it was done with so many operations.
    private func live(_ operations: Int) throws -> Bool {
        let files = CrashingFileSystem()
        let harness = try BrokerHarness(setUp: {
            $0.fileSystem = files
            $0.onFatal = { _ in }
        })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        try #require(try client.produce(topic, makeBatch(2)).error == .none)
        let queue = try RawLetters(client)
        files.crash(after: operations)
        var said = Said()
        try run(queue, files, &said)
        let isThrough = !files.hasCrashed
        client.close()
        // Nothing of that comes to the disk any more, unless it is whole.
        if isThrough {
            files.crash(after: .max)
            try harness.stop()
        } else {
            _ = try? harness.stop()
        }
        files.releaseLocks()
        try goOn(harness.directory, said, operations)
        return isThrough
    }

    private func run(_ queue: RawLetters, _ files: CrashingFileSystem, _ said: inout Said) throws {
        guard let delivered = try receive(queue, wait: 0) else { return }
        said.died = try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none
        guard said.died else { return }
        _ = try eventually {
            try files.hasCrashed || queue.letters().first.map { $0.place >= 0 } ?? false
        }
        guard !files.hasCrashed else { return }
        said.askedToAssign = true
        said.assigned = try queue.assign([1], to: "ann") == [.none]
        guard said.assigned else { return }
        said.askedToReplay = true
        said.replayed = try queue.replay([1]) == [.none]
        guard said.replayed, let again = try receive(queue, wait: 1_000) else { return }
        said.acked = try queue.settle(again, again.range.from..<again.range.to) == .none
        guard said.acked else { return }
        said.other = try queue.settle(delivered, 1..<2) == .none
    }

    /// A broker without a disk hands out nothing.
    private func receive(_ queue: RawLetters, wait: UInt32) throws -> DeliveredRange? {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = queue.member.id
        request.maxRecords = 100
        request.leaseMilliseconds = 60_000
        request.maxWaitMilliseconds = wait
        return try queue.client.ask(request).delivered.first
    }

    /// What was said holds after a start, and what was not comes to its end.
    private func goOn(_ directory: TemporaryDirectory, _ said: Said, _ operations: Int) throws {
        let harness = try BrokerHarness(directory: directory)
        let queue = try RawLetters(try harness.hello())
        let words = "before operation \(operations), \(said)"
        // Before anything is handed out there is no account.
        if try said.died || hasAccount(queue) { try checkAccounts(queue, words) }
        let letters = try queue.letters()
        #expect(letters.count <= 1, "\(words)")
        if said.died, !said.askedToReplay { #expect(letters.map(\.state) == [0], "\(words)") }
        if said.replayed, !said.acked, let letter = letters.first {
            #expect(letter.state == 1, "\(words)")
        }
        if said.acked { #expect(letters.isEmpty, "\(words)") }
        if said.assigned, !said.acked, let letter = letters.first {
            #expect(letter.assignee == "ann" && letter.remarks == 1, "\(words)")
        }
        let isAssigned = letters.first?.assignee == "ann"
        try finish(queue)
        try checkAccounts(queue, words)
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 0 && line.lag == 0, "\(words): \(line)")
        #expect(try queue.letters().isEmpty, "\(words)")
        // Each once in its topic, too, however often the clerk began.
        let dead = try queue.topic("q.dlq")
        let count: Int64 = said.assigned || isAssigned ? 2 : 1
        #expect(try eventually { try queue.end(of: dead.id) >= count }, "\(words)")
        #expect(try queue.end(of: dead.id) == count, "\(words)")
        try harness.stop()
    }

    private func hasAccount(_ queue: RawLetters) throws -> Bool {
        var request = DescribeGroupRequest()
        request.group = "q"
        return try !queue.client.ask(request).queues.isEmpty
    }

    private func checkAccounts(_ queue: RawLetters, _ words: String) throws {
        let line = try queue.line()
        let sum =
            line.acked + line.expired + line.dead + line.inFlight + line.delayed + line.parked
            + line.ready
        #expect(sum == 2 && line.highWatermark == 2 && line.expired == 0, "\(words): \(line)")
    }

    /// Lets the record die if it has not, sends it again if nobody has, and acks all.
    private func finish(_ queue: RawLetters) throws {
        var hasDied = try !queue.letters().isEmpty
        _ = try eventually {
            for letter in try queue.letters() where letter.state == 0 && letter.place >= 0 {
                #expect(try queue.replay([letter.number]) == [.none])
            }
            for delivered in try queue.receive() {
                for offset in delivered.range.from..<delivered.range.to {
                    if delivered.lane == 0, offset == 0, !hasDied {
                        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
                        hasDied = true
                    } else {
                        #expect(try queue.settle(delivered, offset..<(offset + 1)) == .none)
                    }
                }
            }
            return try queue.line().acked == 2
        }
    }
}
