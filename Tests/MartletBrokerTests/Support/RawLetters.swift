import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// A member of the queue group `q` whose handlers fail.
struct RawLetters {
    let client: RawClient
    let member: RawMember

    init(_ client: RawClient) throws {
        self.client = client
        member = RawMember(client, 1, group: "q")
        #expect(try member.join(kind: 1) == .none)
    }

    func receive(_ records: UInt32 = 100, wait: UInt32 = 0) throws -> [DeliveredRange] {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = member.id
        request.maxRecords = records
        request.leaseMilliseconds = 60_000
        request.maxWaitMilliseconds = wait
        let reply = try client.ask(request)
        #expect(reply.error == .none, "\(reply.message)")
        return reply.delivered
    }

    func receiveAll(_ count: Int) throws -> [DeliveredRange] {
        var all: [DeliveredRange] = []
        while all.reduce(0, { $0 + Int($1.range.to - $1.range.from) }) < count {
            let found = try receive(wait: 5_000)
            guard !found.isEmpty else { break }
            all += found
        }
        return all
    }

    private func send(_ entry: SettleEntry) throws -> ErrorCode {
        try #require(try send([entry]).first)
    }

    func send(_ entries: [SettleEntry]) throws -> [ErrorCode] {
        var request = SettleRequest()
        request.group = "q"
        request.entries = entries
        let reply = try client.ask(request)
        return reply.error == .none ? reply.results.map(\.error) : [reply.error]
    }

    private func entry(_ delivered: DeliveredRange, _ range: Range<Int64>) -> SettleEntry {
        var entry = SettleEntry()
        entry.topic = delivered.topic
        entry.partition = delivered.partition
        entry.lane = delivered.lane
        entry.range = OffsetRange(range.lowerBound, range.upperBound)
        entry.delivery = delivered.delivery
        entry.verb = 1
        return entry
    }

    func settle(_ delivered: DeliveredRange, _ range: Range<Int64>) throws -> ErrorCode {
        try send(entry(delivered, range))
    }

    func fail(
        _ delivered: DeliveredRange, _ offset: Int64, verb: UInt8, _ failure: String,
        _ text: String
    ) throws -> ErrorCode {
        try send(failed(delivered, offset, verb: verb, failure, text))
    }

    func failed(
        _ delivered: DeliveredRange, _ offset: Int64, verb: UInt8, _ failure: String,
        _ text: String
    ) -> SettleEntry {
        var entry = entry(delivered, offset..<(offset + 1))
        (entry.verb, entry.failure, entry.text) = (verb, failure, text)
        return entry
    }

    func setPolicy(attempts: UInt16, backoff: Int64, factor: Int32) throws -> ErrorCode {
        var request = SetFailurePolicyRequest()
        request.group = "q"
        request.policy.attemptsMax = attempts
        request.policy.backoffMilliseconds = backoff
        request.policy.backoffFactorPercent = factor
        request.policy.backoffMaxMilliseconds = 1_000
        return try client.ask(request).error
    }

    func letters() throws -> [DeadLetterLine] {
        var request = ListDeadLettersRequest()
        request.group = "q"
        return try client.ask(request).letters
    }

    /// The first of them, once the topic has them all.
    func waitForStored() throws -> DeadLetterLine {
        var stored: DeadLetterLine?
        _ = try eventually {
            let letters = try letters()
            if letters.allSatisfy({ $0.place >= 0 }) { stored = letters.first }
            return stored != nil
        }
        guard let stored else { throw Missing.deadLetter }
        return stored
    }

    func topic(_ name: String) throws -> TopicMetadata {
        var request = MetadataRequest()
        request.names = [TopicNameItem(name)]
        return try #require(try client.ask(request).topics.first)
    }

    /// The broker looks at its disk once a second.
    func waitForRoom() throws {
        guard try eventually({ try client.ask(StatusRequest()).writable }) else {
            throw Missing.room
        }
    }

    func end(of topic: TopicID) throws -> Int64 {
        let reply = try client.ask(fetchRequest(topic, from: 0))
        return try #require(reply.partitions.first).highWatermark
    }

    func waitForEnd(of topic: TopicID, _ end: Int64) throws {
        guard try eventually({ try self.end(of: topic) >= end }) else { throw Missing.deadLetter }
    }

    func replay(_ numbers: [UInt64], max: UInt16 = 0) throws -> [ErrorCode] {
        var request = ReplayDeadLettersRequest()
        request.group = "q"
        request.replaysMax = max
        request.letters = numbers.map { DeadLetterNumber($0) }
        return try client.ask(request).results.map(\.error)
    }

    func assign(_ numbers: [UInt64], to assignee: String) throws -> [ErrorCode] {
        var request = AssignDeadLettersRequest()
        request.group = "q"
        (request.author, request.assignee) = ("eve", assignee)
        request.letters = numbers.map { DeadLetterNumber($0) }
        let reply = try client.ask(request)
        return reply.error == .none ? reply.results.map(\.error) : [reply.error]
    }

    func comment(_ numbers: [UInt64], _ note: String) throws -> [ErrorCode] {
        var request = CommentDeadLettersRequest()
        request.group = "q"
        (request.author, request.note) = ("eve", note)
        request.letters = numbers.map { DeadLetterNumber($0) }
        let reply = try client.ask(request)
        return reply.error == .none ? reply.results.map(\.error) : [reply.error]
    }

    func edit(_ number: UInt64, to record: DeadRecord) throws -> ErrorCode {
        var request = EditDeadLetterRequest()
        (request.group, request.number, request.author) = ("q", number, "eve")
        request.record = BytesPiece.pieces(try #require(record.body))
        return try client.ask(request).error
    }

    func resolve(_ numbers: [UInt64]) throws -> [ErrorCode] {
        var request = ResolveDeadLettersRequest()
        request.group = "q"
        request.letters = numbers.map { DeadLetterNumber($0) }
        return try client.ask(request).results.map(\.error)
    }

    func line() throws -> QueuePartitionLine {
        var request = DescribeGroupRequest()
        request.group = "q"
        return try #require(try client.ask(request).queues.first)
    }

    /// What lies there.
    func record(_ topic: TopicID, _ offset: Int64) throws -> DeadRecord {
        try client.send(try fetchRequest(topic, from: offset).frame(correlation: 77))
        let slab = try client.receive(FetchReply.self).attachment
        let header = try RecordBatchHeader(reading: slab.bytes, at: 0)
        var cursor = RecordCursor(header)
        while let fields = try cursor.next(in: slab.span(0..<header.byteCount)) {
            let place = InternalLog.Place(
                slab: slab, batch: 0..<header.byteCount, header: header, fields: fields)
            if place.offset == offset { return try DeadRecord(place) }
        }
        throw FormatError.invalid(field: "offset", at: 0, reason: "\(offset) is not there")
    }

    func letterRecord(_ letter: DeadLetterLine) throws -> DeadRecord {
        try record(try topic("q.dlq").id, letter.place)
    }
}

private enum Missing: Error {
    case deadLetter
    case room
}
