import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// Whose records they are.
protocol LeaseTaker: Sendable {
    /// The member to take them as; waits until it is in the group. nil: nothing is taken any more.
    func member() async throws -> TopicID?
    /// The broker does not know the member. True: it may be asked for the member again.
    func isUnknown(_ member: TopicID, _ error: MartletError) async throws -> Bool
}

/// Takes records that are handed out for a time, has them handled, and says what became of them.
final class LeasedWork: Sendable {
    typealias Handler = @Sendable (QueueRecord) async throws -> QueueOutcome

    struct Settings: Sendable {
        let group: String
        /// Handlers at a time, and records that are held at once.
        let concurrency: Int
        let window: Int
        let lease: Duration
        let handlerTimeout: Duration
        let drainTimeout: Duration
        /// Shared with others who call handlers.
        var slots: HandlerSlots?
        var onLost: QueueConfiguration.LostHook?
        /// Is told of records that cannot be read, once; nil: they end the work.
        var onDamage: (@Sendable (DamagedRecords) -> Void)?
        var onFailure: QueueConfiguration.FailureHook?
        /// Is told when the broker is away, and when it is back.
        var onConnection: (@Sendable (RequestPort.Change) -> Void)?
        var trace: MemberTracer?
    }

    private struct Item: Sendable {
        /// As its handler sees it: a dead letter at the place where it came from.
        let record: ConsumedRecord
        /// Where it was delivered from.
        let offset: Int64
        let delivered: DeliveredRange
        let deadLetter: DeadLetterEntry?
    }

    private let settings: Settings
    private let context: ConnectionContext
    let port: RequestPort
    private let reader: QueueReader
    private let handler: Handler
    private let ledger: QueueLedger
    /// Of topics whose records were read: of one that is deleted nobody else knows its name.
    private let names = Mutex<[TopicID: String]>([:])
    private let told = Mutex(ToldDamage())
    /// Not told yet.
    private let times: HandlerTimer
    private let lanes = HandlerLanes<Item>(window: .max)
    let end = HandlersEnd()

    init(_ settings: Settings, _ context: ConnectionContext, _ handler: @escaping Handler) {
        self.settings = settings
        self.context = context
        self.handler = handler
        times = context.handlerTimes.timer(of: settings.group)
        let ledger = QueueLedger()
        self.ledger = ledger
        port = RequestPort(context) { change in
            if case .up = change {
                // A broker that was started anew knows of no lease: what it refuses now it can hand
                // out at once, and what handlers run with is taken over the sooner.
                ledger.extend(
                    at: context.clock.monotonicNanoseconds(),
                    limit: settings.handlerTimeout.nanosecondsClamped)
            }
            settings.onConnection?(change)
        }
        reader = QueueReader(port: port)
    }

    private var now: Int64 { context.clock.monotonicNanoseconds() }
    private var facts: [String: String] { ["group": settings.group] }

    func trace(_ event: @autoclosure () -> MemberTrace) {
        if let trace = settings.trace { trace(event()) }
    }

    // MARK: - From beginning to end

    /// Returns when it was stopped, and what its handlers have begun is over and said. `beat` keeps
    /// the member alive meanwhile.
    func run(
        _ taker: any LeaseTaker, beat: (@Sendable () async throws -> Void)? = nil
    ) async {
        // Not cancelled with this one: what handlers have begun they may end.
        let taking = task { try await self.take(taker) }
        // Handlers that may end are this member's until they have: it lives, and so do their leases.
        var living = [task(extend)]
        if let beat { living.append(task(beat)) }
        let handling = Task { await TaskPool.use { await self.handle() } }
        let saying = task(say)
        await withTaskCancellationHandler {
            await end.stopped.settled()
        } onCancel: {
            stop(CancellationError())
        }
        taking.cancel()
        ledger.drain()
        let limit = Task {
            try await Task.sleep(for: settings.drainTimeout)
            handling.cancel()
        }
        await handling.value
        limit.cancel()
        for task in living { task.cancel() }
        ledger.close()
        // Nobody is there to hear it.
        if isUnreachable { saying.cancel() }
        await saying.value
        for task in [taking] + living { await task.value }
    }

    /// The broker stayed away for longer than the deadline.
    var isUnreachable: Bool { (end.error as? MartletError)?.code == .connectionFailed }

    /// Nothing more is taken, and no handler begins. The first reason counts; nil: the client is
    /// closed.
    func stop(_ error: (any Error)?) {
        end.come(error) { lanes.finish() }
    }

    /// Runs `body` until it ends; an error of it ends the work.
    private func task(_ body: @escaping @Sendable () async throws -> Void) -> Task<Void, Never> {
        Task {
            do {
                try await TaskPool.use { try await body() }
            } catch {
                stop(error)
            }
        }
    }

    // MARK: - Taking

    private static let waitMax = Duration.seconds(5)

    private func take(_ taker: any LeaseTaker) async throws {
        var topics: [TopicID: TopicMetadata] = [:]
        // A lease counts from before the wait: most of it must be left behind that.
        let wait = min(Self.waitMax, settings.lease / 3)
        while let room = await ledger.room(of: settings.window) {
            guard let member = try await taker.member() else { return }
            var request = ReceiveRequest()
            request.group = settings.group
            request.member = member
            request.maxRecords = UInt32(clamping: room)
            request.leaseMilliseconds = settings.lease.wire
            request.maxWaitMilliseconds = wait.millisecondsClamped
            let (asked, askedOnBootClock) = (now, context.clock.bootNanoseconds())
            let reply: ReceiveReply
            do {
                reply = try await port.call(
                    request, isRepeatable: true, extraTime: wait, facts: facts)
            } catch let error as MartletError {
                guard try await taker.isUnknown(member, error) else { throw error }
                continue
            }
            // From before the answer on: the broker's own time began later.
            let until = asked.addingClamped(settings.lease.nanosecondsClamped)
            for delivered in reply.delivered {
                trace(.delivered(MemberTrace.Delivered(delivered), asked: askedOnBootClock))
                ledger.take(delivered, until: until)
            }
            for delivered in reply.delivered { try await read(delivered, &topics) }
        }
    }

    private func read(
        _ delivered: DeliveredRange, _ topics: inout [TopicID: TopicMetadata]
    ) async throws {
        do {
            let topic: TopicMetadata
            if let known = topics[delivered.topic] {
                topic = known
            } else {
                topic = try await reader.topic(delivered.topic)
                topics[delivered.topic] = topic
                remember(topic)
            }
            try await read(delivered, topic)
        } catch let error as MartletError where error.code == .unknownTopicID {
            // Deleted since: nobody owes its records any more.
            topics[delivered.topic] = nil
            if let range = delivered.range.range { ledger.lose(range, of: delivered.delivery) }
        }
    }

    /// Offsets without a record are done; those whose record cannot be read are left to themselves.
    private func read(_ delivered: DeliveredRange, _ topic: TopicMetadata) async throws {
        guard let range = delivered.range.range else { return }
        var at = range.lowerBound
        while at < range.upperBound {
            let part: QueueReader.Part
            do {
                part = try await reader.read(delivered, from: at, topic)
            } catch let damage as DamagedRecords {
                at = try setAside(damage, from: at, of: delivered)
                continue
            }
            let end = min(max(part.end, at + 1), range.upperBound)
            if let batch = part.batch {
                for record in batch {
                    guard record.offset < end else { break }
                    if record.offset > at { pass(at..<record.offset, delivered) }
                    at = record.offset + 1
                    lanes.put(HandlerLanes.Work(item(record, delivered), lane: nil))
                }
            }
            if at < end { pass(at..<end, delivered) }
            at = end
        }
    }

    /// Their lease is let run out: to give them back at once would count as an attempt, and hand them
    /// to somebody again and again where only this member finds them damaged. Returns where to go on.
    private func setAside(
        _ damage: DamagedRecords, from offset: Int64, of delivered: DeliveredRange
    ) throws -> Int64 {
        guard let onDamage = settings.onDamage else { throw damage.error }
        let end = max(damage.range.upperBound, offset + 1)
        ledger.lose(offset..<end, of: delivered.delivery)
        if told.withLock({ $0.isNew(damage) }) { onDamage(damage) }
        return end
    }

    private func item(_ record: ConsumedRecord, _ delivered: DeliveredRange) -> Item {
        let letter =
            record.topic == DeadLetterEntry.topic(of: settings.group)
            ? DeadLetterEntry(record) : nil
        return Item(
            record: letter?.record ?? record, offset: record.offset, delivered: delivered,
            deadLetter: letter)
    }

    private func pass(_ range: Range<Int64>, _ delivered: DeliveredRange) {
        ledger.end(range, of: delivered.delivery, .done)
    }

    // MARK: - Handling

    /// What the broker takes at most: 30 days, in milliseconds.
    private static let pauseMax: Int64 = 30 * 86_400_000

    private func handle() async {
        await withTaskGroup(of: Void.self) { tasks in
            for _ in 0..<settings.concurrency {
                tasks.addTask {
                    while let work = await self.lanes.next() {
                        await self.handle(work.item)
                        self.lanes.done(work)
                    }
                }
            }
        }
    }

    private func handle(_ item: Item) async {
        let (offset, delivery) = (item.offset, item.delivered.delivery)
        // Lost again, or taken over for a handler that runs.
        guard ledger.waits(offset, of: delivery) else { return }
        if let slots = settings.slots {
            // Nobody waits for it: it is ready for others.
            guard await slots.take() else {
                return ledger.end(offset..<(offset + 1), of: delivery, .again(milliseconds: 0))
            }
        }
        defer { settings.slots?.give() }
        let range = offset..<(offset + 1)
        let isCertain = item.delivered.mayEndItsHandler
        if isCertain {
            do {
                guard try await confirm(range, of: item.delivered) else {
                    ledger.lose(range, of: delivery)
                    return
                }
            } catch {
                // Its handler has not begun, whatever the broker heard.
                return ledger.end(range, of: delivery, .again(milliseconds: 0))
            }
        }
        guard ledger.begin(offset, of: delivery, at: now, isSaid: isCertain) else {
            ledger.lose(range, of: delivery)
            return
        }
        let record = QueueRecord(
            record: item.record, attempt: Int(item.delivered.attempts) + 1,
            deadLetter: item.deadLetter)
        let verb: QueueLedger.Verb
        do {
            switch try await call(record) {
            case .done: verb = .done
            case .again(let pause):
                verb = .again(milliseconds: min(Int64(pause.millisecondsClamped), Self.pauseMax))
            case .reject(let reason): verb = .failed(FailureWords(rejected: reason))
            }
        } catch is CancellationError where Task.isCancelled {
            verb = .again(milliseconds: 0)
        } catch {
            settings.onFailure?(record, error)
            verb = .failed(FailureWords(error))
        }
        ledger.handled(offset, of: item.delivered, verb, at: now)
    }

    /// Says that a handler begins, and waits until that is on the broker's disk. False: the record
    /// is not this member's any more.
    private func confirm(_ range: Range<Int64>, of delivered: DeliveredRange) async throws -> Bool {
        let saying = QueueLedger.Saying(delivered: delivered, verb: .begin, range: range)
        var request = SettleRequest()
        request.group = settings.group
        request.entries = [SettleEntry(saying, lease: settings.lease)]
        let reply = try await port.call(request, isRepeatable: true, facts: facts)
        return reply.results.first?.error == ErrorCode.none
    }

    private func call(_ record: QueueRecord) async throws -> QueueOutcome {
        let began = now
        defer { times.add(nanoseconds: now - began, of: record.record) }
        return try await handler(record)
    }

    // MARK: - Saying

    /// What lives goes on: three chances in the time of a lease.
    private func extend() async throws {
        while true {
            try await Task.sleep(for: settings.lease / 3)
            ledger.extend(at: now, limit: settings.handlerTimeout.nanosecondsClamped)
            // Who is not handed it in the time of a lease may never be.
            ledger.forget(refusedBefore: now - settings.lease.nanosecondsClamped)
        }
    }

    private func say() async throws {
        var number = 0
        while let sayings = await ledger.next(max: WireLimits.deliveriesMax) {
            number += 1
            for saying in sayings {
                trace(.settling(number: number, .init(saying), .init(saying.verb)))
            }
            var request = SettleRequest()
            request.group = settings.group
            request.entries = sayings.map { SettleEntry($0, lease: settings.lease) }
            request.handled = times.take().items
            let asked = now
            let reply = try await port.call(request, isRepeatable: true, facts: facts)
            guard reply.results.count == sayings.count else {
                throw MartletError.protocolError("The settle's reply has another length.")
            }
            let until = asked.addingClamped(settings.lease.nanosecondsClamped)
            for (saying, result) in zip(sayings, reply.results) {
                trace(
                    .settled(
                        number: number, .init(saying), .init(saying.verb),
                        MemberTrace.Outcome(result)))
                try hear(result, saying, until: until)
            }
        }
    }

    private func hear(
        _ result: CommitResult, _ saying: QueueLedger.Saying, until: Int64
    ) throws {
        let delivery = saying.delivered.delivery
        switch result.error {
        case .none:
            if saying.verb == .extend { ledger.extended(delivery, until: until) }
            if saying.verb.isEnd { ledger.answered(saying) }
        case .leaseLost where saying.range.count > 1: ledger.sayOfEach(saying)
        case .leaseLost:
            // What is not held any more either had its end just now, or its loss was told.
            let wasHeld = ledger.lose(saying.range, of: delivery)
            let isNewest = ledger.refused(saying, at: now)
            if isNewest, wasHeld || saying.verb.isEnd { tellLost(saying) }
        case .limitReached:
            // Too many are delayed: at once is better than never.
            ledger.sayAgain(saying, .again(milliseconds: 0))
        default:
            throw MartletError(result.error, result.message, context: facts)
        }
    }

    private func tellLost(_ saying: QueueLedger.Saying) {
        guard let onLost = settings.onLost else { return }
        let delivered = saying.delivered
        // The hook may take its time.
        Task {
            var name = names.withLock { $0[delivered.topic] }
            if name == nil { name = try await reader.topic(delivered.topic).name }
            guard let name else { return }
            onLost(TopicPartition(name, delivered.partition), saying.range)
        }
    }

    private static let namesMax = 1_000

    private func remember(_ topic: TopicMetadata) {
        names.withLock { names in
            // With more topics than that, those that are there can be asked about.
            if names.count >= Self.namesMax { names = [:] }
            names[topic.id] = topic.name
        }
    }
}

extension DeliveredRange {
    /// A handler may have ended with one of the records: it is counted for sure before the next one
    /// runs. With records that come for the first time nobody waits.
    fileprivate var mayEndItsHandler: Bool { attempts > 0 || isSuspect }
}

extension SettleEntry {
    fileprivate init(_ saying: QueueLedger.Saying, lease: Duration) {
        self.init()
        topic = saying.delivered.topic
        partition = saying.delivered.partition
        lane = saying.delivered.lane
        delivery = saying.delivered.delivery
        range = OffsetRange(saying.range.lowerBound, saying.range.upperBound)
        switch saying.verb {
        case .done: verb = 1
        case .again(let pause): (verb, milliseconds) = (2, pause)
        case .extend: (verb, milliseconds) = (3, Int64(lease.wire))
        case .begin: verb = 4
        case .failed(let words):
            (verb, failure, text) = (words.verb, words.kind, words.text)
        }
    }
}
