import Synchronization

/// Fetched batches between the consumer's queue, which puts them here, and the application, which
/// takes them.
final class BatchShelf: Sendable {
    /// What the application takes, in the order in which it came.
    private enum Entry {
        /// With where the partition goes on behind it, when nothing follows at its end.
        case batch(ConsumerBatch, passedTo: Int64?)
        /// One partition stopped; the others go on behind it.
        case stopped(TopicPartition, MartletError)

        var partition: TopicPartition {
            switch self {
            case .batch(let batch, _): batch.run.partition
            case .stopped(let partition, _): partition
            }
        }
    }

    private struct State {
        var entries = Fifo<Entry>()
        var bytes = 0
        var waiters = Fifo<Promise<ConsumerBatch?>>()
        var failure: MartletError?
        var isClosed = false
        /// The queue stopped fetching because there was enough; it wants to be told of room.
        var isStalled = false
        var positions: [TopicPartition: Int64] = [:]
        /// By partition the first generation since the application went elsewhere.
        var movedAt: [TopicPartition: Int] = [:]
    }

    private enum Step {
        case batch(ConsumerBatch, wakes: Bool)
        case failed(MartletError)
        case closed
        case wait(Promise<ConsumerBatch?>)
    }

    private let state: Mutex<State>
    private let bytesMax: Int
    /// Tells the queue that there is room again.
    private let whenRoom = Mutex<Callback?>(nil)

    /// An object, because a closure that a generic lock hands out and takes back is wrapped once
    /// more each time.
    private final class Callback: Sendable {
        let call: @Sendable () -> Void

        init(_ call: @escaping @Sendable () -> Void) {
            self.call = call
        }
    }

    init(bytesMax: Int, positions: [TopicPartition: Int64]) {
        self.bytesMax = bytesMax
        var state = State()
        state.positions = positions
        self.state = Mutex(state)
    }

    func setWhenRoom(_ body: @escaping @Sendable () -> Void) {
        let callback = Callback(body)
        whenRoom.withLock { $0 = callback }
    }

    // MARK: - The application's side

    /// The next batch; nil when the consumer is closed.
    func next(isolation: isolated (any Actor)? = #isolation) async throws -> ConsumerBatch? {
        let step = state.withLock { state -> Step in
            if state.isClosed { return .closed }
            switch state.entries.popFirst() {
            case .batch(let batch, let passedTo):
                state.bytes -= batch.byteCount
                state.positions[batch.run.partition] = passedTo ?? batch.nextOffset
                let wakes = state.isStalled && state.bytes < bytesMax
                if wakes { state.isStalled = false }
                return .batch(batch, wakes: wakes)
            case .stopped(_, let error):
                return .failed(error)
            case nil:
                break
            }
            if let failure = state.failure { return .failed(failure) }
            let promise = Promise<ConsumerBatch?>()
            state.waiters.append(promise)
            return .wait(promise)
        }
        switch step {
        case .batch(let batch, let wakes):
            if wakes { whenRoom.withLock { $0 }?.call() }
            return batch
        case .failed(let error):
            throw error
        case .closed:
            return nil
        case .wait(let promise):
            do {
                return try await promise.value()
            } catch {
                // Cancelled: nobody else would take it out of the line before the next batch comes.
                state.withLock { _ = $0.waiters.removeAll(unless: { $0 !== promise }) }
                throw error
            }
        }
    }

    /// For tests.
    var waiterCount: Int { state.withLock { $0.waiters.count } }

    var positions: [TopicPartition: Int64] { state.withLock { $0.positions } }

    // MARK: - The queue's side

    /// Whether another fetch is wanted; when not, `whenRoom` will be called.
    func wantsMore() -> Bool {
        state.withLock { state in
            if state.isClosed || state.failure != nil { return false }
            state.isStalled = state.bytes >= bytesMax
            return !state.isStalled
        }
    }

    func put(_ batch: ConsumerBatch) {
        hand(.batch(batch, passedTo: nil), .success(batch))
    }

    /// The sequence throws this once, where the partition stopped, and goes on with the others.
    func stop(_ partition: TopicPartition, _ error: MartletError) {
        hand(.stopped(partition, error), .failure(error))
    }

    /// Gives an entry to whoever waits longest, or keeps it.
    private func hand(_ entry: Entry, _ result: Result<ConsumerBatch?, any Error>) {
        let wake = state.withLock { state -> Promise<ConsumerBatch?>.Wake? in
            if state.isClosed { return nil }
            while let waiter = state.waiters.popFirst() {
                // A task that was cancelled while it waited takes nothing: on to the next one.
                guard let wake = waiter.settle(result) else { continue }
                // Before the task wakes: it may ask for positions at once.
                if case .batch(let batch, _) = entry {
                    state.positions[entry.partition] = batch.nextOffset
                }
                return wake
            }
            state.entries.append(entry)
            if case .batch(let batch, _) = entry { state.bytes += batch.byteCount }
            return nil
        }
        wake?()
    }

    /// The sequence throws this from now on, after what is here already.
    func fail(_ error: MartletError) {
        let waiters = state.withLock { state in
            if state.failure == nil { state.failure = error }
            return state.entries.isEmpty ? state.waiters.removeAll() : []
        }
        for waiter in waiters { waiter.fail(error) }
    }

    /// Forgets what was fetched of a partition, and any failure: the application goes elsewhere.
    ///
    /// - Parameter generation: of what comes from there.
    func moved(_ partition: TopicPartition, to offset: Int64, generation: Int) {
        state.withLock { state in
            for entry in state.entries.removeAll(unless: { $0.partition != partition }) {
                if case .batch(let batch, _) = entry { state.bytes -= batch.byteCount }
            }
            state.failure = nil
            state.positions[partition] = offset
            state.movedAt[partition] = generation
        }
    }

    /// Another partition is read from now on.
    func begin(_ partition: TopicPartition, at offset: Int64) {
        state.withLock { $0.positions[partition] = offset }
    }

    /// Forgets a partition, and what was fetched of it.
    func end(_ partition: TopicPartition) {
        state.withLock { state in
            for entry in state.entries.removeAll(unless: { $0.partition != partition }) {
                if case .batch(let batch, _) = entry { state.bytes -= batch.byteCount }
            }
            state.positions[partition] = nil
        }
    }

    /// What a reader took and left comes first again, unless the application went elsewhere since.
    func putBack(_ batch: ConsumerBatch) {
        let partition = batch.run.partition
        let wake = state.withLock { state -> Promise<ConsumerBatch?>.Wake? in
            if state.isClosed { return nil }
            if batch.run.generation < state.movedAt[partition, default: 0] { return nil }
            while let waiter = state.waiters.popFirst() {
                if let wake = waiter.settle(.success(batch)) { return wake }
            }
            state.entries.prepend(.batch(batch, passedTo: nil))
            state.bytes += batch.byteCount
            if let position = state.positions[partition] {
                state.positions[partition] = min(position, batch.firstOffset)
            }
            return nil
        }
        wake?()
    }

    /// There is nothing to hand out below `offset`: the position moves on behind the batches that
    /// still wait.
    func skipped(_ partition: TopicPartition, to offset: Int64) {
        state.withLock { state in
            let isBehind = state.entries.changeLast(where: { $0.partition == partition }) { entry in
                if case .batch(let batch, _) = entry { entry = .batch(batch, passedTo: offset) }
            }
            if !isBehind { state.positions[partition] = offset }
        }
    }

    func close() {
        let waiters = state.withLock { state in
            state.isClosed = true
            state.bytes = 0
            _ = state.entries.removeAll()
            return state.waiters.removeAll()
        }
        whenRoom.withLock { $0 = nil }
        for waiter in waiters { waiter.succeed(nil) }
    }
}
