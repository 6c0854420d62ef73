import MartletFormat
import MartletSystem
import MartletWire

/// Where one partition is read. Confined to the connection's queue once the consumer runs.
final class PartitionCursor: @unchecked Sendable {
    // Sendable: handed to the queue before it is used there.
    let name: TopicPartition
    let id: TopicID
    /// The next offset to ask for.
    var position: Int64
    var isCompacted: Bool
    /// Changes with each jump: answers for an older one are thrown away.
    var generation = 0
    /// The generation of which a fetch on its way asks for more; -1: none does.
    var fetching = -1
    /// The next fetch for it is to be answered at once, whatever there is.
    var isHurried = false
    /// The last answer could not be trusted, and something is asked about the partition alone; it is
    /// not fetched with the others meanwhile.
    var isAsking = false
    var wasCaughtUp = false
    /// Cannot go on: the application was told why.
    var isStopped = false
    /// Not fetched before this time of the monotonic clock.
    var blockedUntil: Int64 = 0
    var failures = 0
    /// Under which a group's member owns it.
    var owned: OwnedKey?
    /// What the group has handled beyond where it begins: not handed out again.
    var handled: [Range<Int64>] = []

    init(_ name: TopicPartition, id: TopicID, position: Int64, isCompacted: Bool) {
        self.name = name
        self.id = id
        self.position = position
        self.isCompacted = isCompacted
    }
}

/// Who tells a consumer what to read, for a member of a group. All calls come on the queue.
protocol CursorOwner: AnyObject {
    var group: String { get }
    var member: TopicID { get }
    /// The broker says that the member does not own the partition.
    func isDisowned(_ cursor: PartitionCursor, _ error: MartletError)
    /// The wanted offset is not there. The partition is not read until it is told anew.
    ///
    /// - Parameter end: what lies below was lost; nil: the log has no such offset.
    func isMissing(_ cursor: PartitionCursor, _ error: MartletError, upTo end: Int64?)
    /// Records came; nil: nobody is to have them.
    func delivery(_ key: OwnedKey, _ range: Range<Int64>) -> Delivery?
    /// There is nothing to hand out below the offset.
    func passed(_ key: OwnedKey, to offset: Int64)
    func happened(_ event: ConsumerEvent)
}

/// The consumer's engine: fetches ahead, checks what comes, and puts it on the shelf.
///
/// Sendable: confined to the queue, except the constant parts.
final class ConsumerCore: @unchecked Sendable, LinkUser {
    /// What one fetch asked for.
    struct Asked {
        let cursor: PartitionCursor
        let generation: Int
        let isVerified: Bool
    }

    let configuration: ConsumerConfiguration
    let context: ConnectionContext
    let shelf: BatchShelf
    let events = EventBuffer<ConsumerEvent>(capacity: 1_024)
    /// Of the topics that are read, by name. A topic made anew under the name is another one.
    let topicIDs: [String: TopicID]
    /// For a member of a group: who adds and removes the cursors.
    weak var owner: (any CursorOwner)?
    private let link: Link
    var cursors: [PartitionCursor]
    private var turn = 0
    private var polls = ConsumerPolls()
    private(set) var isClosed = false
    private(set) var isFailed = false
    private var isDown = false
    private var wakeAt: Int64 = .max
    var random = SystemRandomNumberGenerator()

    init(
        _ configuration: ConsumerConfiguration, _ context: ConnectionContext,
        cursors: [PartitionCursor], topicIDs: [String: TopicID]
    ) {
        self.configuration = configuration
        self.context = context
        self.cursors = cursors
        self.topicIDs = topicIDs
        let positions = cursors.map { ($0.name, $0.position) }
        shelf = BatchShelf(
            bytesMax: configuration.prefetchBytes,
            positions: Dictionary(positions, uniquingKeysWith: { first, _ in first }))
        // Records before acknowledgements, which make a producer send more first.
        link = Link(context, comesFirst: true)
        link.setUser(self)
    }

    var now: Int64 { context.clock.monotonicNanoseconds() }
    var connection: Connection? { link.connection }

    func start() {
        // A cycle until `close`, which takes this away.
        shelf.setWhenRoom { [self] in
            context.loop.execute { [self] in fetch() }
        }
        scheduleRefresh()
        fetch()
    }

    /// Ends everything. Called on the queue.
    func close() {
        if isClosed { return }
        isClosed = true
        link.close(.closed("consumer"))
        shelf.close()
        events.finish()
    }

    /// The sequence ends with this error, after what was fetched before. Who asks again hears it again,
    /// and is told that this will not change.
    func fail(_ error: MartletError) {
        if isClosed || isFailed { return }
        isFailed = true
        shelf.fail(error.adding([:], isFatal: true))
    }

    /// One partition cannot go on: the sequence tells it once and goes on with the others. With the
    /// last one the sequence has nothing left, and says so from then on.
    func stop(_ cursor: PartitionCursor, _ error: MartletError) {
        if isClosed || cursor.isStopped { return }
        cursor.isStopped = true
        cursor.generation += 1
        if owner != nil {
            // What was deleted, the group takes away.
            if error.code != .unknownTopicID { shelf.stop(cursor.name, error) }
        } else if cursors.allSatisfy(\.isStopped) {
            fail(error)
        } else {
            shelf.stop(cursor.name, error)
        }
    }

    func seek(_ partition: TopicPartition, to offset: Int64) -> Bool {
        guard let cursor = cursors.first(where: { $0.name == partition }) else { return false }
        cursor.position = offset
        cursor.generation += 1
        cursor.wasCaughtUp = false
        cursor.isStopped = false
        cursor.blockedUntil = 0
        isFailed = false
        shelf.moved(partition, to: offset, generation: cursor.generation)
        hurry([cursor])
        return true
    }

    // MARK: - A group's partitions

    /// Reads another partition from now on; the first time at once, beside a fetch that waits.
    func add(_ added: [PartitionCursor]) {
        for cursor in added {
            cursors.append(cursor)
            shelf.begin(cursor.name, at: cursor.position)
        }
        hurry(added.filter { !$0.isStopped })
    }

    /// Asks at once for partitions that no fetch on its way asks for, or not where they are by now: it
    /// can wait for long.
    private func hurry(_ added: [PartitionCursor]) {
        for cursor in added { cursor.isHurried = polls.areOut }
        fetch()
    }

    /// Reads a partition no more, and forgets what came of it and was not handed out.
    func remove(_ cursor: PartitionCursor) {
        cursor.generation += 1
        cursor.isStopped = true
        cursors.removeAll { $0 === cursor }
        shelf.end(cursor.name)
        fetch()
    }

    /// Reads a partition that could not go on from elsewhere.
    func resume(_ cursor: PartitionCursor, at offset: Int64) {
        cursor.position = offset
        cursor.generation += 1
        cursor.wasCaughtUp = false
        cursor.isStopped = false
        shelf.skipped(cursor.name, to: offset)
        hurry([cursor])
    }

    func post(_ event: ConsumerEvent) {
        if let owner { owner.happened(event) } else { events.post(event) }
    }

    // MARK: - Fetching

    /// Asks for what no fetch on its way asks for, when the shelf has room.
    func fetch() {
        if isClosed || isFailed { return }
        if let time = polls.heldBack(at: now) { scheduleWake(at: time) }
        if !polls.mayAsk(at: now) || !shelf.wantsMore() { return }
        guard let connection = link.connection else {
            link.want()
            return
        }
        while polls.mayAsk(at: now) {
            let asked = choose()
            if !asked.isEmpty { ask(asked, connection) }
            if asked.count < WireLimits.partitionsPerRequestMax { break }
        }
        connection.flush()
    }

    private func ask(_ asked: [Asked], _ connection: Connection) {
        let poll = polls.begin(at: now, maxWait: configuration.maxWait.nanosecondsClamped)
        var request = fetchRequest(asked)
        if asked.contains(where: \.cursor.isHurried) {
            request.minBytes = 0
        } else {
            request.minBytes = UInt32(clamping: configuration.minBytes)
            request.maxWaitMilliseconds = Duration.nanoseconds(poll.wait).millisecondsClamped
        }
        for one in asked {
            one.cursor.fetching = one.generation
            one.cursor.isHurried = false
        }
        let timeout = context.configuration.requestTimeout + configuration.maxWait
        connection.send(request, timeout: timeout) { [weak self] outcome in
            self?.fetched(poll, asked, outcome)
        }
    }

    private func fetchRequest(_ asked: [Asked]) -> FetchRequest {
        var request = FetchRequest()
        request.maxBytes = UInt32(clamping: configuration.maxBytes)
        request.partitions = asked.map {
            FetchEntry(
                topic: $0.cursor.id, partition: $0.cursor.name.partition,
                offset: $0.cursor.position, maxBytes: UInt32(clamping: configuration.maxBytes),
                epoch: $0.cursor.owned?.epoch ?? 0)
        }
        if let owner {
            request.group = owner.group
            request.member = owner.member
        }
        return request
    }

    /// Fetches one partition once more, with the broker checking every byte before it sends it.
    func verify(_ cursor: PartitionCursor) {
        guard let connection = link.connection, !isClosed, !cursor.isStopped else { return }
        cursor.isAsking = true
        let asked = [Asked(cursor: cursor, generation: cursor.generation, isVerified: true)]
        var request = fetchRequest(asked)
        request.verify = true
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            cursor.isAsking = false
            self?.received(asked, outcome)
        }
        connection.flush()
    }

    /// The partitions for the next fetch, in turn: those that no other asks for.
    private func choose() -> [Asked] {
        let now = now
        var asked: [Asked] = []
        turn = cursors.isEmpty ? 0 : (turn + 1) % cursors.count
        for step in cursors.indices {
            let cursor = cursors[(turn + step) % cursors.count]
            if cursor.isAsking || cursor.isStopped { continue }
            if cursor.fetching == cursor.generation { continue }
            if cursor.blockedUntil > now {
                scheduleWake(at: cursor.blockedUntil)
                continue
            }
            asked.append(
                Asked(cursor: cursor, generation: cursor.generation, isVerified: false))
            if asked.count == WireLimits.partitionsPerRequestMax { break }
        }
        return asked
    }

    private func fetched(_ poll: ConsumerPolls.Poll, _ asked: [Asked], _ outcome: ReplyOutcome) {
        // With a connection that is gone.
        guard polls.end(poll) else { return }
        for one in asked where one.cursor.fetching == one.generation { one.cursor.fetching = -1 }
        received(asked, outcome)
    }

    private static let littleBytes = 16 << 10

    private func received(_ asked: [Asked], _ outcome: ReplyOutcome) {
        // Without an answer: the link comes back, or the deadline ends it.
        guard case .frame(let frame) = outcome, !isClosed else { return }
        do {
            let (reply, attachment) = try frame.decode(FetchReply.self)
            guard reply.error == .none else {
                refused(MartletError(reply.error, reply.message, context: context.facts))
                return
            }
            let runs = receive(reply, attachment, of: frame, asked)
            // The broker works on the next answer while this one is checked; but for little the
            // application waits less than a request takes to leave.
            let bytes = runs.reduce(0) { $0 + $1.range.count }
            if bytes > Self.littleBytes { fetch() }
            for run in runs { deliver(run) }
            if context.loop.hasTasks {
                context.loop.execute { [self] in fetch() }
            } else {
                fetch()
            }
        } catch {
            link.interrupt(context.brokenProtocol(error))
        }
    }

    private func refused(_ error: MartletError) {
        guard error.isRetriable else {
            fail(error)
            return
        }
        let pause = context.configuration.retry.delay(attempt: 3, using: &random)
        scheduleWake(at: now + pause)
    }

    func scheduleWake(at time: Int64) {
        guard time < wakeAt else { return }
        wakeAt = time
        context.loop.execute(after: max(time - now, 1)) { [weak self] in
            guard let self else { return }
            self.wakeAt = .max
            self.fetch()
        }
    }

    // MARK: - Link

    var wantsLink: Bool { !isClosed && !isFailed && shelf.wantsMore() }

    var operations: [Operation] { [.fetch, .metadata] }

    func linkIsUp(_ connection: Connection) {
        if isDown {
            isDown = false
            post(.reconnected)
        }
        fetch()
    }

    func linkIsDown(_ error: MartletError, downFor: Int64) {
        polls.forget()
        for cursor in cursors {
            cursor.isAsking = false
            cursor.fetching = -1
        }
        if isClosed { return }
        guard error.isRetriable else {
            fail(error)
            return
        }
        let deadline = configuration.deadline ?? context.configuration.deadline
        if downFor >= deadline.nanosecondsClamped {
            isDown = true
            fail(context.unreachable(error))
            return
        }
        if !isDown { post(.disconnected(error)) }
        isDown = true
    }

    func linkGotError(_ error: MartletError) {}
}
