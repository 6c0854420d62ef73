import Synchronization

/// Records between who takes them from the broker and the handlers: a bounded number, and of one
/// lane one at a time.
final class HandlerLanes<Item: Sendable>: Sendable {
    struct Work: Sendable {
        let item: Item
        let lane: Int?

        init(_ item: Item, lane: Int?) {
            self.item = item
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
