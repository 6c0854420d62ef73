import MartletFormat
import MartletGroups
import MartletSystem
import MartletTelemetry
import MartletWire

/// What people do with records that nobody can handle.
struct DeadLetterHandler: Sendable {
    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func setPolicy(_ request: Request<SetFailurePolicyRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        guard let policy = message.policy.policy else {
            return request.reply(.invalidRequest, "last: \(message.policy.last) is not from 0 to 3")
        }
        shard.run(request, by: request.person) { coordinator, _ throws(GroupRefusal) in
            try coordinator.setPolicy(message.group, policy)
        } _: { _, _ in
            SetFailurePolicyReply()
        }
    }

    func list(_ request: Request<ListDeadLettersRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let most = WireLimits.lettersMax
        let count = message.max == 0 ? most : min(Int(message.max), most)
        shard.run(request) { _, _ in
            []
        } _: { state, _ throws(GroupRefusal) in
            let page = try state.coordinator.letters(
                of: message.group, after: message.after, max: count)
            var reply = ListDeadLettersReply()
            reply.letters = page.letters.map { DeadLetterLine($0) }
            reply.hasMore = page.hasMore
            return reply
        }
    }

    func replay(_ request: Request<ReplayDeadLettersRequest>) {
        let message = request.message
        change(request, message.group, message.letters, "sent again") {
            coordinator, numbers, _ throws(GroupRefusal) in
            try coordinator.replayLetters(
                message.group, numbers, replaysMax: message.replaysMax)
        }
    }

    func resolve(_ request: Request<ResolveDeadLettersRequest>) {
        let message = request.message
        change(request, message.group, message.letters, "resolved") {
            coordinator, numbers, now throws(GroupRefusal) in
            try coordinator.resolveLetters(
                message.group, numbers, author: message.author, note: message.note, at: now)
        }
    }

    func assign(_ request: Request<AssignDeadLettersRequest>) {
        let message = request.message
        change(request, message.group, message.letters, "assigned") {
            coordinator, numbers, now throws(GroupRefusal) in
            try coordinator.assignLetters(
                message.group, numbers, to: message.assignee, author: message.author, at: now)
        }
    }

    func comment(_ request: Request<CommentDeadLettersRequest>) {
        let message = request.message
        change(request, message.group, message.letters, "commented") {
            coordinator, numbers, now throws(GroupRefusal) in
            try coordinator.commentLetters(
                message.group, numbers, author: message.author, note: message.note, at: now)
        }
    }

    private typealias Change =
        @Sendable (Coordinator, [UInt64], Now) throws(GroupRefusal) -> (
            records: [GroupRecord], refusals: [Int: GroupRefusal]
        )

    private func change<Message: WireRequest>(
        _ request: Request<Message>, _ group: String, _ letters: [DeadLetterNumber],
        _ what: String, _ change: @escaping Change
    ) where Message.Reply: DeadLetterResults {
        guard let shard = services.groups.shard(of: group) else {
            return request.reply(.unknownGroup)
        }
        let numbers = letters.map(\.number)
        let refusals = Carried<[Int: GroupRefusal]>([:])
        let logger = services.logger
        shard.run(request, by: request.person) { coordinator, now throws(GroupRefusal) in
            let outcome = try change(coordinator, numbers, now)
            refusals.value = outcome.refusals
            return outcome.records
        } _: { _, _ in
            logger.notice(
                "DEAD_LETTERS_CHANGED", "dead letters were \(what) by hand",
                [
                    ("group", LogValue(group)),
                    ("letters", LogValue(numbers.count - refusals.value.count)),
                ])
            var reply = Message.Reply()
            reply.results = numbers.indices.map { CommitResult(refusals.value[$0]) }
            return reply
        }
    }

    func edit(_ request: Request<EditDeadLetterRequest>) {
        let message = request.message
        guard let shard = services.groups.shard(of: message.group) else {
            return request.reply(.unknownGroup)
        }
        let body = message.record.flatMap(\.bytes)
        guard body.count <= services.limits.batchBytesMax else {
            return request.reply(
                .messageTooLarge, "the record has \(body.count) bytes, more than any topic takes")
        }
        do throws(FormatError) {
            _ = try DeadRecord(body: body)
        } catch {
            return request.reply(.invalidRecord, "record: \(error)")
        }
        shard.run(request, by: request.person, heldBytes: body.count) {
            coordinator, now throws(GroupRefusal) in
            try coordinator.editLetter(
                message.group, message.number, body: body, author: message.author,
                note: message.note, at: now)
        } _: { _, _ in
            EditDeadLetterReply()
        }
    }
}

extension DeadLetterLine {
    fileprivate init(_ letter: Letter) {
        self.init()
        number = letter.number
        topic = letter.origin.partition.topic
        partition = letter.origin.partition.partition
        lane = letter.origin.queue.lane.rawValue
        offset = letter.origin.offset
        reason = letter.reason.rawValue
        attempts = letter.attempts
        deaths = letter.deaths
        replays = letter.replays
        diedAt = letter.diedAt
        state = letter.isReplaying ? 1 : 0
        place = letter.place ?? -1
        lastPlace = letter.lastPlace ?? -1
        remarks = letter.remarks
        assignee = letter.assignee
    }
}

extension DeadLetterCounts {
    init(_ counts: LetterCounts) {
        self.init()
        dead = counts.dead
        replaying = counts.replaying
        notStored = counts.waiting
        oldestAt = counts.oldestAt ?? -1
    }
}
