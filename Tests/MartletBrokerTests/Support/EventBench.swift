import MartletFormat
import MartletGroups
import MartletJSON
import MartletStorage
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// A broker whose group events are written at once, and a reader of them.
struct EventBench {
    let sink = LogCapture()
    let harness: BrokerHarness
    let client: RawClient

    init(
        _ directory: TemporaryDirectory? = nil, files: FaultyFileSystem? = nil,
        clock: ManualClock? = nil, limits: PendingEvents.Limits = .init(),
        setUp: (inout BrokerSetup) -> Void = { _ in }
    ) throws {
        let sink = sink
        harness = try BrokerHarness(
            directory: directory,
            setUp: { setup in
                setup.logger = Logger(label: "test", level: .info, sink: sink)
                setup.eventsPauseNanoseconds = 0
                setup.pendingEvents = limits
                if let files { setup.fileSystem = files }
                if let clock { setup.takeJumpingClock(clock) }
                setUp(&setup)
            })
        client = try harness.hello()
    }

    /// nil: there is none yet.
    var topic: TopicID? { harness.eventTopic }

    func events() throws -> [JSONValue] { try harness.groupEvents(client) }

    /// As soon as there is one of the kind.
    func wait(for kind: String) throws -> [JSONValue] {
        try wait { $0.contains { $0["type"]?.stringValue == kind } }
    }

    func wait(until isEnough: ([JSONValue]) -> Bool) throws -> [JSONValue] {
        var found: [JSONValue] = []
        let isThere = try eventually(seconds: 20) {
            found = try events()
            return isEnough(found)
        }
        #expect(isThere, "\(found.map { JSONWriter.text($0) })")
        return found
    }

    func count(of kind: String, in events: [JSONValue]) -> Int64 {
        events.filter { $0["type"]?.stringValue == kind }
            .reduce(0) { $0 + ($1["count"]?.integerValue ?? 0) }
    }

    func setPolicy(_ group: String, _ change: (inout FailurePolicyItem) -> Void) throws {
        var request = SetFailurePolicyRequest()
        request.group = group
        request.policy.attemptsMax = 3
        request.policy.backoffMilliseconds = 1_000
        request.policy.backoffFactorPercent = 100
        request.policy.backoffMaxMilliseconds = 1_000
        change(&request.policy)
        #expect(try client.ask(request).error == .none)
    }

    func pause(_ group: String, _ isPaused: Bool, _ places: [GroupPlace] = []) throws {
        var request = PauseGroupRequest()
        (request.group, request.isPaused, request.places) = (group, isPaused, places)
        #expect(try client.ask(request).error == .none)
    }

    func setBreaker(_ group: String, isOpen: Bool) throws {
        var request = SetBreakerRequest()
        (request.group, request.isOpen) = (group, isOpen)
        #expect(try client.ask(request).error == .none)
    }

    func reset(_ group: String, _ topic: TopicID, to offset: Int64) throws {
        var entry = ResetEntry()
        (entry.topic, entry.offset) = (topic, offset)
        var request = ResetGroupRequest()
        (request.group, request.isForced, request.entries) = (group, true, [entry])
        #expect(try client.ask(request).error == .none)
    }

    func leave(_ member: RawMember) throws {
        var request = LeaveGroupRequest()
        (request.group, request.member) = (member.group, member.id)
        #expect(try client.ask(request).error == .none)
    }

    func deleteRecords(_ topic: TopicID, below offset: Int64) throws -> ErrorCode {
        var entry = DeleteRecordsEntry()
        (entry.topic, entry.before) = (topic, offset)
        var request = DeleteRecordsRequest()
        request.entries = [entry]
        let reply = try client.ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }
}

extension BrokerHarness {
    /// nil: there is none yet.
    var eventTopic: TopicID? { broker.engine.topic(named: "$group-events")?.id }

    /// All of them, as anybody may read them.
    func groupEvents(_ client: RawClient) throws -> [JSONValue] {
        guard let topic = eventTopic else { return [] }
        var found: [JSONValue] = []
        var next: Int64 = 0
        while true {
            try client.send(try fetchRequest(topic, from: next).frame(correlation: 77))
            let slab = try client.receive(FetchReply.self).attachment
            var position = 0
            while position < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: position)
                let batch = slab.span(position..<position + header.byteCount)
                var cursor = RecordCursor(header)
                while let fields = try cursor.next(in: batch) {
                    let value = try #require(fields.value)
                    let bytes = value.map {
                        unsafe batch.unsafeLoad(fromByteOffset: $0, as: UInt8.self)
                    }
                    found.append(try JSONValue(parsing: bytes))
                }
                position += header.byteCount
                next = header.baseOffset + Int64(header.recordCount)
            }
            if position == 0 { return found }
        }
    }
}
