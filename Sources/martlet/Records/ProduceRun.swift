import MartletClient
import MartletConfiguration
import MartletSystem
import Synchronization

/// Gives what standard input has to a producer, until the input ends, a record fails, or a person
/// ends it. What was read by then is sent to its end and counted.
final class ProduceRun: Sendable {
    private struct State {
        var given = 0
        var failed = 0
        /// Of the first record that failed.
        var failure: (any Error)?
        var isInterrupted = false
    }

    private typealias Sending = Task<DeliveryReceipt, any Error>

    private let producer: Producer
    private let input: RecordInput
    private let output: Output
    /// nil: nobody asked for receipts.
    private let receipts: ReceiptPrinter?
    private let state = Mutex(State())

    /// Records with receipts that may be on their way at once.
    private static let sendingMax = 1_024

    init(
        _ producer: Producer, _ input: RecordInput, _ output: Output, receipts: ReceiptPrinter?
    ) {
        self.producer = producer
        self.input = input
        self.output = output
        self.receipts = receipts
    }

    /// An input that was written as a whole.
    struct Written {
        /// Acknowledged.
        var records: Int
        /// Of these, messages that were there already.
        var duplicates: Int
    }

    /// Throws when not all of the input was written.
    func run() async throws -> Written {
        let (sendings, give) = AsyncStream.makeStream(of: Sending.self)
        let (shown, tell) = AsyncStream.makeStream(of: Void.self)
        let reading = Task { [self] in
            defer { give.finish() }
            if receipts == nil { try await enqueueAll() } else { try await sendAll(give, shown) }
        }
        let stop: @Sendable () -> Void = { [self] in
            state.withLock { $0.isInterrupted = true }
            reading.cancel()
        }
        return try await Interruption.stopping(stop) {
            let watching = Task { [self] in
                for await failure in producer.failures {
                    note(failure.error, records: failure.recordCount)
                    reading.cancel()
                }
            }
            let showing = Task { [self] in
                try await self.show(sendings, tell) { reading.cancel() }
            }
            let isRead = await reading.result
            let isShown = await showing.result
            do {
                try await producer.flush()
            } catch {
                note(error, records: 0)
            }
            await producer.close()
            await watching.value
            try isShown.get()
            return Written(records: try conclude(isRead), duplicates: producer.duplicates)
        }
    }

    private func note(_ error: any Error, records: Int) {
        state.withLock { state in
            state.failed += records
            if state.failure == nil { state.failure = error }
        }
    }

    private func conclude(_ read: Result<Void, any Error>) throws -> Int {
        let total = state.withLock { $0 }
        let written = max(0, total.given - total.failed)
        let count = "\(Shown.plural(written, "record")) acknowledged, \(total.failed) not"
        if let failure = total.failure {
            output.message("martlet: \(count)")
            throw failure
        }
        if total.isInterrupted { throw ToolError.failure("interrupted: \(count)") }
        try read.get()
        return written
    }

    // MARK: - Without receipts

    private func enqueueAll() async throws {
        try await forEachRecord { try await producer.enqueueWaiting($0) }
    }

    private func forEachRecord(_ body: (ProducerRecord) async throws -> Void) async throws {
        var pieces = 0
        try await InputPieces().forEach(delimiter: input.delimiter) { piece in
            try Task.checkCancellation()
            pieces += 1
            guard let record = try input.record(piece, number: pieces) else { return }
            try await body(record)
            state.withLock { $0.given += 1 }
        }
    }

    // MARK: - With receipts

    /// Many on their way at once, shown in the order of the input.
    private func sendAll(
        _ give: AsyncStream<Sending>.Continuation, _ shown: AsyncStream<Void>
    ) async throws {
        var free = Self.sendingMax
        var places = shown.makeAsyncIterator()
        try await forEachRecord { record in
            if free == 0 {
                _ = await places.next(isolation: #isolation)
                try Task.checkCancellation()
            } else {
                free -= 1
            }
            // Begins at once, so that the records keep the order of the lines.
            give.yield(Task.immediate { [producer] in try await producer.send(record) })
        }
    }

    /// Shows each receipt as it comes. A failure ends the reading, not what is on its way.
    private func show(
        _ sendings: AsyncStream<Sending>, _ tell: AsyncStream<Void>.Continuation,
        stop: () -> Void
    ) async throws {
        guard var receipts else { return }
        for await sending in sendings {
            switch await sending.result {
            case .success(let receipt):
                do {
                    try receipts.show(receipt)
                } catch {
                    stop()
                    throw error
                }
            case .failure(let error):
                note(error, records: 1)
                stop()
            }
            tell.yield()
        }
        try receipts.finish()
    }
}
