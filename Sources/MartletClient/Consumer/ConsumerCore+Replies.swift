import MartletFormat
import MartletSystem
import MartletWire

/// Batches of one partition whose place in the log is checked, and whose content is not yet.
struct UncheckedRun {
    let asked: ConsumerCore.Asked
    let lease: SlabLease
    let range: Range<Int>
    let from: Int64
    let nextOffset: Int64
    let highWatermark: Int64
    /// Gaps and skipped damage that lie within or directly behind.
    let crossed: [Crossed]
}

/// Offsets without records, and why.
struct Crossed: Equatable {
    enum Reason: Equatable {
        case lost
        case damaged
    }

    let range: Range<Int64>
    let reason: Reason
}

// What becomes of an answer to a fetch.
extension ConsumerCore {
    /// Goes through the results: moves the positions on, so that the next fetch can leave, and
    /// returns what has to be checked and delivered.
    func receive(
        _ reply: FetchReply, _ attachment: Range<Int>, of frame: ReplyFrame, _ asked: [Asked]
    ) -> [UncheckedRun] {
        var runs: [UncheckedRun] = []
        // Bytes of the frame that nobody takes stay where they are.
        let records = attachment.isEmpty ? nil : frame.take(attachment)
        var position = records?.range.lowerBound ?? 0
        for result in reply.partitions {
            let range = position..<(position + Int(result.recordsLength))
            position = range.upperBound
            let index = Int(result.index)
            guard index < asked.count else { continue }
            let asked = asked[index]
            guard asked.generation == asked.cursor.generation else { continue }
            if result.error != .none {
                handle(result, asked)
            } else if let lease = records?.slab, !range.isEmpty {
                asked.cursor.failures = 0
                if let run = scan(result, lease, range, asked) { runs.append(run) }
            } else {
                asked.cursor.failures = 0
                pass(result, asked)
            }
        }
        return runs
    }

    /// Checks the batches' headers: that they are whole, follow each other without a hole that the
    /// broker did not name, and carry the prefixes that the broker's log has.
    private func scan(
        _ result: FetchResult, _ lease: SlabLease, _ range: Range<Int>, _ asked: Asked
    ) -> UncheckedRun? {
        let cursor = asked.cursor
        var scan = RunScan(
            expected: cursor.position, isCompacted: cursor.isCompacted, result: result)
        let slab = lease.slab
        do {
            try scan.run(slab.span(range))
        } catch {
            switch error {
            case .compressed(let codec):
                stop(
                    cursor,
                    MartletError(
                        .unsupportedCompressionType,
                        "The batch at offset \(scan.expected) has codec \(codec).",
                        context: cursor.name.context))
            case .damaged(let range, let reason):
                suspect(asked, range, reason)
            }
            return nil
        }
        let from = cursor.position
        cursor.position = scan.expected
        return UncheckedRun(
            asked: asked, lease: lease, range: range, from: from, nextOffset: scan.expected,
            highWatermark: result.highWatermark, crossed: scan.crossed)
    }

    /// Checks the batches' checksums and hands them out.
    func deliver(_ run: UncheckedRun) {
        let cursor = run.asked.cursor
        // Moved or failed in the meantime.
        guard run.asked.generation == cursor.generation else { return }
        let slab = run.lease.slab
        var position = run.range.lowerBound
        do {
            while position < run.range.upperBound {
                let header = try RecordBatchHeader(reading: slab.bytes, at: position)
                let range = position..<(position + header.byteCount)
                do {
                    if !PlantedBug.noChecksumCheck.isOn {
                        try RecordBatch.checkChecksum(slab.span(range), header)
                    }
                } catch {
                    let damaged = header.baseOffset..<header.nextOffset
                    cursor.position = run.from
                    suspect(run.asked, damaged, "\(error)")
                    return
                }
                position = range.upperBound
            }
        } catch {
            preconditionFailure("a header that was read before cannot be read: \(error)")
        }
        var delivery: Delivery?
        if let owner, let key = cursor.owned {
            delivery = owner.delivery(key, run.from..<run.nextOffset)
            if delivery == nil { return }
        }
        for crossed in run.crossed { post(crossed, cursor.name) }
        shelf.put(
            ConsumerBatch(
                run: FetchedRun(
                    partition: cursor.name, lease: run.lease, range: run.range, from: run.from,
                    nextOffset: run.nextOffset, highWatermark: run.highWatermark, shelf: shelf,
                    generation: run.asked.generation, delivery: delivery, skipped: cursor.handled)))
        noteProgress(cursor, highWatermark: run.highWatermark)
    }

    /// What came cannot be trusted. The first time, it is asked for again with `verify`, after
    /// looking whether the topic is compacted by now; the second time it is the application's.
    private func suspect(_ asked: Asked, _ range: Range<Int64>, _ reason: String) {
        let cursor = asked.cursor
        cursor.generation += 1
        if asked.isVerified {
            stop(cursor, .corrupt(cursor.name, range, reason))
            return
        }
        lookUpTopic(of: cursor) { [self] topic in
            if let topic, topic.error == .none { cursor.isCompacted = topic.compacted }
            verify(cursor)
        }
    }

    /// Asks what the broker knows of the partition's topic now, nothing else of the partition
    /// meanwhile. `then` is given nil for an answer that says nothing; it is not called at all when
    /// the connection breaks, since the partition is then asked for again anyway.
    private func lookUpTopic(
        of cursor: PartitionCursor, _ then: @escaping (TopicMetadata?) -> Void
    ) {
        guard let connection else { return }
        cursor.isAsking = true
        var request = MetadataRequest()
        request.ids = [TopicIDItem(cursor.id)]
        connection.send(request, timeout: context.configuration.requestTimeout) { outcome in
            cursor.isAsking = false
            guard case .frame(let frame) = outcome else { return }
            then(try? frame.decode(MetadataReply.self).message.topics.first)
        }
        connection.flush()
    }

    // MARK: - Gaps

    /// A result without records and without error.
    private func pass(_ result: FetchResult, _ asked: Asked) {
        let cursor = asked.cursor
        if !result.gaps.isEmpty || !result.damaged.isEmpty {
            cross(result, cursor)
        } else if cursor.position < result.highWatermark {
            // Compaction took all records up to the end.
            guard cursor.isCompacted else {
                let missing = cursor.position..<result.highWatermark
                suspect(asked, missing, "the batches of these offsets are missing")
                return
            }
            cursor.position = result.highWatermark
            skipped(cursor)
        }
        noteProgress(cursor, highWatermark: result.highWatermark)
    }

    /// Passes the offsets that the broker names. The event comes last: who waits for it looks where
    /// the consumer stands.
    private func cross(_ result: FetchResult, _ cursor: PartitionCursor) {
        let named = Crossed.named(by: result)
        while let gap = named.first(where: { $0.range.contains(cursor.position) }) {
            let passed = cursor.position..<gap.range.upperBound
            cursor.position = passed.upperBound
            skipped(cursor)
            post(Crossed(range: passed, reason: gap.reason), cursor.name)
        }
    }

    private func skipped(_ cursor: PartitionCursor) {
        shelf.skipped(cursor.name, to: cursor.position)
        if let key = cursor.owned { owner?.passed(key, to: cursor.position) }
    }

    private func post(_ crossed: Crossed, _ name: TopicPartition) {
        switch crossed.reason {
        case .lost: post(.offsetsLost(name, crossed.range))
        case .damaged: post(.damageSkipped(name, crossed.range))
        }
    }

    private func noteProgress(_ cursor: PartitionCursor, highWatermark: Int64) {
        if highWatermark < 0 { return }
        let isCaughtUp = cursor.position >= highWatermark
        if isCaughtUp && !cursor.wasCaughtUp {
            post(.caughtUp(cursor.name, offset: cursor.position))
        }
        cursor.wasCaughtUp = isCaughtUp
    }

    // MARK: - Errors

    private func handle(_ result: FetchResult, _ asked: Asked) {
        let cursor = asked.cursor
        let error = MartletError(result.error, result.message, context: cursor.name.context)
        switch result.error {
        case .offsetOutOfRange:
            reset(result, cursor, error)
        case .offsetsLost:
            lose(result, cursor, error)
        case .storageError:
            failUnlessDeleted(asked, error)
        case .fencedMember, .staleMemberEpoch:
            if let owner { owner.isDisowned(cursor, error) } else { stop(cursor, error) }
        case .corruptMessage:
            let damaged = result.damaged.compactMap(\.range)
            let range =
                damaged.first { $0.contains(cursor.position) } ?? damaged.first
                ?? cursor.position..<max(cursor.position, cursor.position &+ 1)
            stop(cursor, .corrupt(cursor.name, range, result.message))
        default:
            guard result.error.isRetriable else {
                stop(cursor, error)
                return
            }
            let pause = context.configuration.retry.delay(attempt: cursor.failures, using: &random)
            cursor.failures += 1
            cursor.blockedUntil = now + pause
        }
    }

    /// A partition can be offline because its topic is being deleted: then that is what is told.
    private func failUnlessDeleted(_ asked: Asked, _ error: MartletError) {
        let cursor = asked.cursor
        lookUpTopic(of: cursor) { [self] topic in
            // Moved in the meantime: the error is that of another place.
            guard asked.generation == cursor.generation else {
                fetch()
                return
            }
            if let topic, topic.error == .unknownTopicID {
                stop(cursor, MartletError(topic.error, "", context: cursor.name.context))
            } else {
                stop(cursor, error)
            }
        }
    }

    /// What was to be read is lost. A member's reset policy says where to go on, as for anything else
    /// that is not there; another reader goes on behind it.
    private func lose(_ result: FetchResult, _ cursor: PartitionCursor, _ error: MartletError) {
        let before = cursor.position
        let lost = Crossed.named(by: result).first { $0.range.contains(before) }
        guard owner != nil, let lost else {
            cross(result, cursor)
            if cursor.position == before { reset(result, cursor, error) }
            return
        }
        let end = lost.range.upperBound
        post(Crossed(range: before..<end, reason: lost.reason), cursor.name)
        reset(result, cursor, error, upTo: end)
    }

    /// The wanted offset is not there.
    ///
    /// - Parameter end: what lies below was lost; nil: the log has no such offset.
    private func reset(
        _ result: FetchResult, _ cursor: PartitionCursor, _ error: MartletError,
        upTo end: Int64? = nil
    ) {
        if let owner {
            cursor.generation += 1
            cursor.isStopped = true
            owner.isMissing(cursor, error, upTo: end)
            return
        }
        let target: Int64
        switch configuration.resetPolicy {
        case .earliest: target = result.logStart
        case .latest: target = result.highWatermark
        case .fail: target = -1
        }
        guard target >= 0 else {
            let facts = ["offset": String(cursor.position)]
            stop(cursor, error.adding(facts))
            return
        }
        let before = cursor.position
        cursor.position = target
        cursor.generation += 1
        cursor.wasCaughtUp = false
        shelf.skipped(cursor.name, to: target)
        post(.reset(cursor.name, from: before, to: target))
    }

    // MARK: - New partitions

    func scheduleRefresh() {
        let interval = configuration.refreshInterval.nanosecondsClamped
        context.loop.execute(after: interval) { [weak self] in
            self?.refresh()
        }
    }

    private func refresh() {
        if isClosed { return }
        scheduleRefresh()
        // Until a seek starts it again.
        if isFailed { return }
        let names = Set(configuration.assignments.filter { $0.partition == nil }.map(\.topic))
        let topics = names.compactMap { topicIDs[$0] }
        guard let connection, !topics.isEmpty else { return }
        var request = MetadataRequest()
        request.ids = topics.prefix(WireLimits.namesMax).map { TopicIDItem($0) }
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self, case .frame(let frame) = outcome,
                let reply = try? frame.decode(MetadataReply.self).message
            else { return }
            for topic in reply.topics where topic.error == .none { self.grow(topic) }
        }
        connection.flush()
    }

    private func grow(_ topic: TopicMetadata) {
        let known = cursors.filter { $0.id == topic.id }
        guard let name = known.first?.name.topic, known.count < Int(topic.partitions) else {
            return
        }
        for number in Int32(known.count)..<topic.partitions {
            let cursor = PartitionCursor(
                TopicPartition(name, number), id: topic.id, position: 0,
                isCompacted: topic.compacted)
            cursors.append(cursor)
            shelf.skipped(cursor.name, to: 0)
        }
        post(.partitionsAdded(topic: name, total: Int(topic.partitions)))
        fetch()
    }
}
