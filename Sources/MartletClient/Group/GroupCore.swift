import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// A member of a group: stays in it, takes and gives up partitions, commits.
///
/// Sendable: confined to the queue, except the constant parts.
final class GroupCore: @unchecked Sendable {
    /// A partition between the answer that assigned it and the one that heard that it was given up.
    final class Held {
        enum Phase {
            /// Nobody was told of it yet.
            case waiting
            /// Its start is looked up, and the application is told.
            case opening
            case reading
            /// The application finishes what it was handed.
            case draining
            /// The application is told, and the last commit is made.
            case closing
            /// Given up, and to be said so until it was heard.
            case released
        }

        let key: OwnedKey
        let committed: CommittedPosition
        /// What lies below may have ended an earlier owner.
        let suspectBelow: Int64
        /// What is set aside, and whether with its key.
        let parked: [Int64: Bool]
        var phase = Phase.waiting
        var cursor: PartitionCursor?
        /// `onAssign` was called, and `onRevoke` is to be, once.
        var isKnown = false
        /// `assigned` was told, and `revoked` or `lost` is to be, once.
        var isTold = false
        /// It is known where reading begins.
        var hasStart = true
        /// A commit could say no more of what waits behind parked records.
        var isFull = false

        init(_ key: OwnedKey, _ assigned: AssignedPartition) {
            self.key = key
            committed = assigned.committed
            suspectBelow = assigned.suspectBelow
            parked = Dictionary(
                assigned.parked.map { ($0.offset, $0.isKey) }, uniquingKeysWith: { $0 || $1 })
        }

        /// The group has been so far, and has left out what lies before only for the time being.
        var passedBelow: Int64 {
            max(committed.finished.last?.to ?? 0, (parked.keys.max() ?? -1).addingClamped(1))
        }
    }

    /// There is nothing to read at a place.
    struct Missing {
        enum Reason: UInt8 {
            case uncommitted = 1
            case gone
            case lost
        }

        let reason: Reason
        /// What the application is told when the policy has no answer.
        let error: MartletError?
        /// Nothing below is there any more.
        let end: Int64
    }

    enum Phase {
        case joining
        case joined
        /// Finishes and commits what it has, and is in the group as long.
        case leaving
        /// It has said goodbye, or was gone before it could: no answer changes anything any more.
        case left
        case closed
    }

    /// What the application is told and awaited with.
    struct Hooks: Sendable {
        var assign: @Sendable ([TopicPartition]) async -> Void = { _ in }
        var revoke: @Sendable ([TopicPartition], Bool) async -> Void = { _, _ in }
    }

    let configuration: GroupConsumerConfiguration
    let context: ConnectionContext
    let admin: AdminClient
    let ledger: GroupLedger
    let reading: ConsumerCore
    let events = EventBuffer<GroupEvent>(capacity: 1_024)
    /// Runs what takes time in the order in which it came: so nothing of a partition is read before
    /// `onAssign` is over, and nothing is given up before `onRevoke` is.
    let steward = JobLine()
    /// How long handlers ran; not told yet.
    let times: HandlerTimer
    let joined = Promise<Void>()
    let link: Link

    var hooks = Hooks()
    var phase = Phase.joining
    var member = GroupCore.newMember()
    /// Counts the times that it joined anew: answers to what it said before are not for it.
    var incarnation = 0
    var held: [OwnedKey: Held] = [:]
    /// Drained, and not yet with the steward.
    var drained: [OwnedKey] = []
    var heartbeats = HeartbeatState()
    /// When the broker may take the member for dead, on the clock that goes on while the machine
    /// sleeps. For the application's tasks, too.
    let sessionEnd = Atomic<Int64>(.max)
    /// Whether another process took the member's name is being asked: it does not join meanwhile.
    var isAskingForName = false
    var commits = CommitLine()
    /// Outlives sessions, so that nothing is told twice.
    var news = NewsReader()
    /// What the reset policy chose; not told yet.
    var resets: [PolicyResetItem] = []
    /// Wait until it is in the group, or is not to be any more.
    var whenJoined: [Promise<Void>] = []
    /// Somebody wants it to end: the steward asks nothing more.
    var isEnding = false
    /// Ends the steward's question.
    var stopAsking: (@Sendable () -> Void)?
    /// Waits, at the end, for what the application has in hand.
    var whenQuiet: Promise<Void>?
    /// Why it is of no use any more.
    private(set) var failure: MartletError?
    private var isDown = false
    var attempts = 0
    var random = SystemRandomNumberGenerator()

    init(
        _ configuration: GroupConsumerConfiguration, _ context: ConnectionContext,
        _ admin: AdminClient
    ) {
        self.configuration = configuration
        self.context = context
        self.admin = admin
        times = context.handlerTimes.timer(of: configuration.group)
        ledger = GroupLedger(isManual: configuration.commitPolicy == .manual)
        reading = ConsumerCore(configuration.reading, context, cursors: [], topicIDs: [:])
        link = Link(context)
        link.setUser(self)
        reading.owner = self
    }

    static func newMember() -> TopicID {
        TopicID(high: .random(in: 1 ... .max), low: .random(in: .min ... .max))
    }

    var now: Int64 { context.clock.monotonicNanoseconds() }

    var isFailed: Bool { failure != nil }

    /// The group counts it among its members, as far as it knows.
    var isMember: Bool { phase == .joined || phase == .leaving }

    func trace(_ event: @autoclosure () -> MemberTrace) {
        if let trace = configuration.trace { trace(event()) }
    }

    /// How long a broker that is away is waited for.
    var patience: Int64 {
        (configuration.deadline ?? context.configuration.deadline).nanosecondsClamped
    }

    /// Joins. Called on the queue.
    func start() {
        ledger.setWhenDrained { [weak self] key in
            guard let self else { return }
            context.loop.execute { [weak self] in self?.isDrained(key) }
        }
        ledger.setWhenFull { [weak self] key in
            guard let self else { return }
            context.loop.execute { [weak self] in self?.isFull(key) }
        }
        reading.start()
        scheduleCommit()
        link.want()
    }

    /// The sequences end with this error, after what is there. The member is of no use any more.
    func fail(_ cause: MartletError) {
        if isFailed { return }
        let error = cause.adding([:], isFatal: true)
        failure = error
        joined.fail(error)
        tellJoined()
        reading.fail(error)
        failCommits(error)
    }

    /// Runs something on the queue, for who is not there.
    func onQueue<R: Sendable>(_ body: @escaping @Sendable (GroupCore) -> R) async -> R {
        await withCheckedContinuation { continuation in
            context.loop.execute { continuation.resume(returning: body(self)) }
        }
    }

    /// Runs something on the queue after a pause that grows with the failures.
    func afterPause(_ body: @escaping @Sendable (GroupCore) -> Void) {
        let pause = context.configuration.retry.delay(attempt: attempts, using: &random)
        attempts += 1
        context.loop.execute(after: pause) { [weak self] in
            if let self { body(self) }
        }
    }

    /// Does it again, elsewhere when this broker is about to go.
    func retry(_ error: MartletError, _ body: @escaping @Sendable (GroupCore) -> Void) {
        if error.code == .shuttingDown {
            link.interrupt(error)
        } else {
            afterPause(body)
        }
    }

    /// Ends without a word to the broker. Called on the queue.
    func end() {
        if phase == .closed { return }
        phase = .closed
        let error = MartletError.closed("consumer")
        joined.fail(error)
        tellJoined()
        link.close(error)
        reading.close()
        for key in held.keys { ledger.close(key) }
        tellIfQuiet()
        // What was not given up in order.
        let lost = takeTold()
        if !lost.isEmpty { events.post(.lost(lost, failure ?? error)) }
        held = [:]
        failCommits(error)
        ledger.setWhenDrained(nil)
        ledger.setWhenFull(nil)
        events.finish()
    }
}

extension GroupCore: LinkUser {
    var wantsLink: Bool { phase != .left && phase != .closed && !isFailed }

    var operations: [Operation] { [.joinGroup, .heartbeat, .commitOffsets, .leaveGroup] }

    func linkIsUp(_ connection: Connection) {
        if isDown {
            isDown = false
            events.post(.reconnected)
        }
        switch phase {
        case .joining: join()
        case .joined, .leaving: heartbeat()
        case .left, .closed: return
        }
        sendCommits()
    }

    func linkIsDown(_ error: MartletError, downFor: Int64) {
        if phase == .left || phase == .closed { return }
        guard error.isRetriable else { return fail(error) }
        if downFor >= patience { return fail(context.unreachable(error)) }
        if !isDown { events.post(.disconnected(error)) }
        isDown = true
    }

    func linkGotError(_ error: MartletError) {}
}

extension GroupCore: CursorOwner {
    var group: String { configuration.group }

    func isDisowned(_ cursor: PartitionCursor, _ error: MartletError) {
        guard let key = cursor.owned, held[key] != nil else { return }
        if error.code == .fencedMember {
            isFenced(error)
        } else {
            lose([key], error)
        }
    }

    func isMissing(_ cursor: PartitionCursor, _ error: MartletError, upTo end: Int64?) {
        guard let key = cursor.owned else { return }
        let missing = Missing(reason: end == nil ? .gone : .lost, error: error, end: end ?? 0)
        steward.add { [weak self] in await self?.reset(key, missing) }
    }

    func delivery(_ key: OwnedKey, _ range: Range<Int64>) -> Delivery? {
        ledger.shelve(key, range)
    }

    func passed(_ key: OwnedKey, to offset: Int64) { ledger.pass(key, to: offset) }

    func happened(_ event: ConsumerEvent) { events.post(.reading(event)) }
}
