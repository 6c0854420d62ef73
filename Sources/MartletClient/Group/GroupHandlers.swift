import MartletSystem
import Synchronization

/// Calls an application's handler with the records of a member.
final class GroupHandlers: Sendable {
    typealias Handler = @Sendable (ConsumedRecord) async throws -> Void

    private enum Outcome {
        case done
        case failed(any Error)
        /// The record is another member's by now.
        case dropped
    }

    private struct End {
        var hasCome = false
        var error: (any Error)?
    }

    private let feed: GroupFeed
    private let handling: GroupHandling
    private let handler: Handler
    private let lanes: HandlerLanes
    private let end = Mutex(End())
    /// Nothing more is handled, but for what has begun.
    let stopped = Promise<Void>()

    init(_ feed: GroupFeed, _ handling: GroupHandling, _ handler: @escaping Handler) {
        self.feed = feed
        self.handling = handling
        self.handler = handler
        lanes = HandlerLanes(window: handling.window)
    }

    /// Why it ended; nil: the consumer was closed.
    var error: (any Error)? { end.withLock { $0.error } }

    /// No handler begins any more. The first reason counts.
    func stop(_ error: (any Error)?) {
        let isFirst = end.withLock { end in
            if end.hasCome { return false }
            end = End(hasCome: true, error: error)
            return true
        }
        guard isFirst else { return }
        lanes.finish()
        stopped.succeed(())
    }

    /// Takes records and has them handled. Returns when it was stopped and no handler runs.
    func run() async {
        await withTaskGroup(of: Void.self) { tasks in
            if handling != .serial {
                for _ in 0..<handling.concurrency { tasks.addTask { await self.work() } }
            }
            do {
                // With room first: what is taken must not lie about.
                while await lanes.hasRoom() {
                    guard let batch = try await feed.next() else { return stop(nil) }
                    await take(batch)
                }
            } catch {
                stop(error)
            }
        }
    }

    private func take(_ batch: ConsumerBatch) async {
        guard let delivery = batch.run.delivery else { return }
        feed.ledger.split(delivery)
        var isWhole = true
        for record in batch where isWhole {
            isWhole = await put(HandlerLanes.Work(record, delivery, lane: lane(of: record)))
        }
        feed.ledger.close(delivery, isWhole: isWhole && !delivery.isDamaged)
    }

    /// False: nothing more of the batch is handled.
    private func put(_ work: HandlerLanes.Work) async -> Bool {
        guard await lanes.hasRoom(), !work.delivery.isCut else { return false }
        feed.ledger.line(work.record.offset, of: work.delivery)
        if handling == .serial {
            await handle(work)
        } else {
            lanes.put(work)
        }
        return true
    }

    /// Two keys may share a lane: that costs time, not order.
    private func lane(of record: ConsumedRecord) -> Int? {
        guard case .perKey = handling, let key = record.keyBytes else { return nil }
        var hasher = Hasher()
        hasher.combine(record.run.partition)
        hasher.combine(key)
        return hasher.finalize()
    }

    private func work() async {
        while let work = await lanes.next() {
            await handle(work)
            lanes.done(work)
        }
    }

    private func handle(_ work: HandlerLanes.Work) async {
        switch await outcome(of: work) {
        case .done, .dropped: break
        case .failed(let error): stop(error)
        }
    }

    private func outcome(of work: HandlerLanes.Work) async -> Outcome {
        let (record, ledger) = (work.record, feed.ledger)
        await feed.checkSession()
        guard ledger.begin(record.offset, of: work.delivery, isDone: feed.isBefore) else {
            return .dropped
        }
        do {
            try await handler(record)
            ledger.end(record.offset, of: work.delivery, isDone: true)
            return .done
        } catch {
            // Before the record is let go of: nothing that waits behind it may begin.
            lanes.finish()
            ledger.end(record.offset, of: work.delivery, isDone: feed.isBefore)
            return .failed(error)
        }
    }
}

/// Records between who takes them from the broker and the handlers: a bounded number, and of one
/// lane one at a time.
final class HandlerLanes: Sendable {
    struct Work: Sendable {
        let record: ConsumedRecord
        let delivery: Delivery
        let lane: Int?

        init(_ record: ConsumedRecord, _ delivery: Delivery, lane: Int?) {
            self.record = record
            self.delivery = delivery
            self.lane = lane
        }
    }

    private struct State {
        var ready = Fifo<Work>()
        /// What waits behind a record that is ready or being handled, by lane.
        var waiting: [Int: Fifo<Work>] = [:]
        /// Put and not done.
        var count = 0
        var idle: [Promise<Void>] = []
        var room: Promise<Void>?
        var isFinished = false
    }

    private let state = Mutex(State())
    private let window: Int

    init(window: Int) {
        self.window = window
    }

    enum Room {
        case free
        case full(Promise<Void>)
        /// Nothing is handled any more.
        case none
    }

    /// Whether there is room; if not, who asked last is woken when there is.
    func room() -> Room {
        state.withLock { state in
            if state.isFinished { return .none }
            if state.count < window { return .free }
            let promise = Promise<Void>()
            state.room = promise
            return .full(promise)
        }
    }

    /// Waits for room. For one task. False: nothing is handled any more.
    func hasRoom() async -> Bool {
        while true {
            switch room() {
            case .free: return true
            case .none: return false
            case .full(let promise): await promise.settled()
            }
        }
    }

    func put(_ work: Work) {
        let worker = state.withLock { state -> Promise<Void>? in
            if state.isFinished { return nil }
            state.count += 1
            if let lane = work.lane {
                if state.waiting[lane]?.append(work) != nil { return nil }
                state.waiting[lane] = Fifo()
            }
            state.ready.append(work)
            return state.idle.popLast()
        }
        worker?.succeed(())
    }

    /// What to handle next; nil: nothing any more.
    func next() async -> Work? {
        while true {
            let promise = Promise<Void>()
            let (work, isFinished) = state.withLock { state -> (Work?, Bool) in
                let work = state.ready.popFirst()
                if work == nil, !state.isFinished { state.idle.append(promise) }
                return (work, state.isFinished)
            }
            if work != nil || isFinished { return work }
            await promise.settled()
        }
    }

    /// The next one of the lane may come, and another one into the line.
    func done(_ work: Work) {
        let (room, worker) = state.withLock { state -> (Promise<Void>?, Promise<Void>?) in
            state.count -= 1
            let room = state.room
            state.room = nil
            guard let lane = work.lane, !state.isFinished else { return (room, nil) }
            guard let next = state.waiting[lane]?.popFirst() else {
                state.waiting[lane] = nil
                return (room, nil)
            }
            state.ready.append(next)
            return (room, state.idle.popLast())
        }
        room?.succeed(())
        worker?.succeed(())
    }

    /// Nothing more is handled: what waits is forgotten.
    func finish() {
        let waiters = state.withLock { state in
            state.isFinished = true
            _ = state.ready.removeAll()
            state.waiting = [:]
            defer {
                state.idle = []
                state.room = nil
            }
            return state.idle + [state.room].compactMap { $0 }
        }
        for waiter in waiters { waiter.succeed(()) }
    }
}
