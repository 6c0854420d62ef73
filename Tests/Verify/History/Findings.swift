/// What must hold, each with how often it was looked at and what was found against it.
struct Findings {
    enum Invariant: String, CaseIterable {
        /// What was acknowledged is read in the end.
        case lostAcked = "lost-acked"
        /// An offset has one content, whoever reads it, and whenever.
        case offsetConflict = "offset-conflict"
        /// A value has one offset.
        case duplicate
        /// Nothing is read that nobody sent, and nothing that is not byte for byte what was sent.
        case phantom
        /// What was refused for certain is not read.
        case failedVisible = "failed-visible"
        /// A producer's records keep their order in their partition.
        case orderProducer = "order-producer"
        /// The offset of an acknowledgement is where the record is read.
        case ackOffset = "ack-offset"
        /// What was read once is read in the end.
        case readThenGone = "read-then-gone"
        /// Under one assignment no record comes twice; one after the other they come in order, and
        /// none is left out.
        case orderPoll = "order-poll"
        /// Records of one key are handled one after the other, in order.
        case keyOrder = "key-order"
        /// A committed offset never goes back, over restarts too.
        case commitMonotone = "commit-monotone"
        /// What is committed was handled.
        case commitAhead = "commit-ahead"
        /// No commit is taken of who has lost the partition.
        case staleCommit = "stale-commit"
        /// An epoch has one owner, and none begins before the one before has ended.
        case doubleOwner = "double-owner"
        /// In the end all is owned and done.
        case groupProgress = "group-progress"
        /// What was acknowledged is handled by each group.
        case unhandled
        /// A record whose ack was taken is not handed out again.
        case handledOnceAfterAck = "handled-once-after-ack"
        /// No record is handed out while another delivery has it.
        case doubleLease = "double-lease"
        /// What was taken as dead is listed once, and is in the dead letter topic as it was sent.
        case deadLetterLost = "dead-letter-lost"
        /// Of what is dead in the end no ack was taken.
        case ackOfDead = "ack-of-dead"
        /// In a queue in order one record of a key is out at a time, in order of offsets; parked with
        /// its key, a record is the next that comes.
        case queueKeyOrder = "queue-key-order"
        /// In a stream that parks keys none of a key is begun before all earlier ones are handled.
        case parkedOrder = "parked-order"
        /// What a member had begun with is handled or a dead letter before retention takes it.
        case rescued
        /// What was sent again is handled again, and nothing else is.
        case replayLost = "replay-lost"
        case replayStray = "replay-stray"
        /// Beginning and end of a log never go back, and what is acked lies below its end.
        case highWatermark = "hw-monotone"
        /// Who asks while a queue stands still gets nothing.
        case pausedGrant = "paused-grant"
        /// Where the records of a queue are adds up, at any time.
        case accounts
        /// No member ends by itself.
        case memberEnded = "member-ended"
        /// Nobody waits too long for an answer, and nobody for ever.
        case liveness
        /// When all is over the broker holds no more than it may.
        case resource
    }

    struct Finding {
        var looked = 0
        var count = 0
        var examples: [String] = []
    }

    private(set) var found: [Invariant: Finding] = [:]

    mutating func check(
        _ invariant: Invariant, _ holds: Bool, _ example: @autoclosure () -> String
    ) {
        found[invariant, default: Finding()].looked += 1
        if holds { return }
        found[invariant, default: Finding()].count += 1
        if found[invariant, default: Finding()].examples.count < 8 {
            found[invariant, default: Finding()].examples.append(example())
        }
    }

    var violated: [Invariant] {
        Invariant.allCases.filter { found[$0, default: Finding()].count > 0 }
    }

    /// What was not looked at once proves nothing; but these need something to go wrong first.
    var unseen: [Invariant] {
        Invariant.allCases.filter {
            $0 != .failedVisible && $0 != .memberEnded && found[$0, default: Finding()].looked == 0
        }
    }

    var lines: [String] {
        Invariant.allCases.flatMap { invariant in
            let finding = found[invariant, default: Finding()]
            let line =
                "  \(invariant.rawValue): \(finding.count) in \(finding.looked)"
                + (finding.count > 0 ? " VIOLATION" : "")
            return [line] + finding.examples.map { "    \($0)" }
        }
    }
}
