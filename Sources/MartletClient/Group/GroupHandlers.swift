/// Calls an application's handler with the records of a member.
final class GroupHandlers: Sendable {
    typealias Handler = @Sendable (ConsumedRecord) async throws -> Void

    private struct Item: Sendable {
        let record: ConsumedRecord
        let delivery: Delivery
    }

    private enum Outcome {
        case done
        case failed(any Error)
        /// The record is another member's by now, or set aside.
        case dropped
    }

    private enum Ending {
        case done
        /// It is not done, and this member has no more to do with it.
        case left
        /// The broker set it aside, with its key or without.
        case parked(isKey: Bool)
    }

    private let feed: GroupFeed
    private let handling: GroupHandling
    private let handler: Handler
    private let lanes: HandlerLanes<Item>
    private let failures: GroupFailures?
    /// Shared with what is sent to the group again.
    private let slots: HandlerSlots
    private let gate = SuspectGate()
    let end = HandlersEnd()

    init(
        _ feed: GroupFeed, _ handling: GroupHandling, _ slots: HandlerSlots,
        _ handler: @escaping Handler
    ) {
        self.slots = slots
        self.feed = feed
        self.handling = handling
        self.handler = handler
        lanes = HandlerLanes(window: handling.window)
        failures = feed.failures
    }

    /// No handler begins any more. The first reason counts.
    func stop(_ error: (any Error)?) {
        end.come(error) {
            lanes.finish()
            slots.close()
        }
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
        await failures?.close()
    }

    private func take(_ batch: ConsumerBatch) async {
        guard let delivery = batch.run.delivery else { return }
        feed.ledger.split(delivery)
        var isWhole = true
        for record in batch where isWhole {
            isWhole = await put(Item(record: record, delivery: delivery))
        }
        feed.ledger.close(delivery, isWhole: isWhole && !delivery.isDamaged)
    }

    /// False: nothing more of the batch is handled.
    private func put(_ item: Item) async -> Bool {
        guard await lanes.hasRoom(), !item.delivery.isCut else { return false }
        let record = item.record
        guard
            feed.ledger.line(record.offset, of: item.delivery, key: { Self.keyHash(of: record) })
        else { return true }
        if handling == .serial {
            await handle(item)
        } else {
            lanes.put(HandlerLanes.Work(item, lane: lane(of: item.record)))
        }
        return true
    }

    /// Two keys may share a lane: that costs time, not order.
    private func lane(of record: ConsumedRecord) -> Int? {
        guard case .perKey = handling, let key = record.keyBytes,
            !PlantedBug.mixKeys.isOn
        else { return nil }
        var hasher = Hasher()
        hasher.combine(record.run.partition)
        hasher.combine(key)
        return hasher.finalize()
    }

    /// nil: it has no key, and waits for none.
    private static func keyHash(of record: ConsumedRecord) -> Int? {
        guard let key = record.keyBytes else { return nil }
        var hasher = Hasher()
        hasher.combine(key)
        return hasher.finalize()
    }

    private func work() async {
        while let work = await lanes.next() {
            await handle(work.item)
            lanes.done(work)
        }
    }

    private func handle(_ item: Item) async {
        guard await slots.take() else { return }
        defer { slots.give() }
        switch await outcome(of: item) {
        case .done, .dropped: break
        case .failed(let error): stop(error)
        }
    }

    private func outcome(of item: Item) async -> Outcome {
        let (record, ledger) = (item.record, feed.ledger)
        await feed.checkSession()
        let mayBegin = ledger.begin(
            record.offset, of: item.delivery, isDone: feed.isBefore,
            key: { Self.keyHash(of: record) })
        guard mayBegin else { return .dropped }
        do {
            switch try await handle(record, item.delivery) {
            case .done:
                ledger.end(record.offset, of: item.delivery, isDone: true)
                return .done
            case .left: ledger.end(record.offset, of: item.delivery, isDone: false)
            case .parked(let isKey):
                let key = isKey ? Self.keyHash(of: record) : nil
                ledger.park(record.offset, of: item.delivery, key: key)
            }
            return .dropped
        } catch {
            // Before the record is let go of: nothing that waits behind it may begin.
            lanes.finish()
            ledger.end(record.offset, of: item.delivery, isDone: feed.isBefore)
            return .failed(error)
        }
    }

    // MARK: - Failures

    /// Calls the handler as often as the group's policy has it.
    private func handle(_ record: ConsumedRecord, _ delivery: Delivery) async throws -> Ending {
        while true {
            let place: SuspectGate.Place?
            switch try await permission(record, delivery) {
            case .go(let found): place = found
            case .not(let answer):
                if let ending = await ending(answer, delivery) { return ending }
                continue
            }
            do {
                defer { if let place { gate.leave(place) } }
                try await call(record)
                return .done
            } catch {
                guard let failures, !Task.isCancelled else { throw error }
                let answer = try await failures.tell(error, record, delivery.key)
                if let ending = await ending(answer, delivery) { return ending }
            }
        }
    }

    /// What becomes of the record; nil: after a pause, which is over, it is to be handled again.
    private func ending(_ answer: GroupFailures.Answer, _ delivery: Delivery) async -> Ending? {
        switch answer {
        case .passed: return .done
        case .parked(let isKey): return .parked(isKey: isKey)
        case .again(let pause):
            let until = feed.now.addingClamped(pause.nanosecondsClamped)
            return await mayGoOn(delivery, at: until) ? nil : .left
        case .standsStill, .elsewhere:
            // Until the partition is gone: what waits behind the record must not begin.
            _ = await mayGoOn(delivery, at: .max)
            return .left
        }
    }

    private enum Permission {
        /// With a place to be left when the handler has ended.
        case go(SuspectGate.Place?)
        case not(GroupFailures.Answer)
    }

    /// Asks the broker where the record may have ended an earlier owner's process: the start is
    /// counted before it happens.
    private func permission(
        _ record: ConsumedRecord, _ delivery: Delivery
    ) async throws -> Permission {
        guard let failures, record.offset < delivery.suspectBelow else { return .go(nil) }
        var isAlone = handling == .serial
        while true {
            let end = end
            let place = await gate.enter(delivery, isAlone: isAlone) {
                !delivery.isCut && !end.hasCome
            }
            guard let place else { return .not(.elsewhere) }
            await feed.commitDone(delivery.key)
            let answer: GroupFailures.Permission
            do {
                answer = try await failures.start(record, delivery.key, isAlone: isAlone)
            } catch {
                gate.leave(place)
                throw error
            }
            if answer == .go { return .go(place) }
            gate.leave(place)
            switch answer {
            case .go, .alone: isAlone = true
            case .later(let pause): return .not(.again(after: pause))
            case .not(let answer): return .not(answer)
            }
        }
    }

    private func call(_ record: ConsumedRecord) async throws {
        let began = feed.now
        defer { feed.times.add(nanoseconds: feed.now - began, of: record) }
        try await handler(record)
    }

    /// How long a hand-over may wait for one that only waits itself.
    private static let glance = Duration.milliseconds(100)

    /// Waits until then; false when the record is not this member's any more, or nothing is handled.
    /// Others may run meanwhile.
    private func mayGoOn(_ delivery: Delivery, at until: Int64) async -> Bool {
        slots.give()
        let mayGoOn = await isReady(delivery, at: until)
        return await slots.take() && mayGoOn
    }

    private func isReady(_ delivery: Delivery, at until: Int64) async -> Bool {
        while feed.now < until {
            if delivery.isCut || end.hasCome { return false }
            // Who waits is not stuck.
            feed.ledger.asked()
            let left = Duration.nanoseconds(until - feed.now)
            do {
                try await Task.sleep(for: min(left, Self.glance))
            } catch {
                return false
            }
        }
        return true
    }
}
