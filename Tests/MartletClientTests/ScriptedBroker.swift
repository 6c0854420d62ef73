import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization

@testable import MartletClient

/// What the scripted broker does with a produce request.
enum ProduceAct: Sendable {
    case normal
    /// Appends, and closes the connection instead of answering.
    case appendThenClose
    /// Closes the connection without appending.
    case close
    /// Refuses all batches.
    case refuse(ErrorCode)
    /// Appends, but never answers.
    case silence
    /// Answers when `releaseHeld` is called.
    case hold
    /// The same, and reads no more from this connection until `resumeReading` is called.
    case holdAndStall
}

/// A broker in memory behind a real socket, that does what a test tells it to. It keeps the rules of
/// Protocol.md that a client depends on: sequences, whole batches, prefix checksums.
final class ScriptedBroker: @unchecked Sendable {
    // Sendable: confined to `queue`, except the script, which is a mutex.

    struct Script: Sendable {
        var onProduce: @Sendable (Int, ProduceRequest) -> ProduceAct = { _, _ in .normal }
        /// May change an answer to a fetch before it is sent.
        var onFetch: @Sendable (Int, FetchRequest, inout FetchReply, inout [UInt8]) -> Void = {
            _, _, _, _ in
        }
        var onHello: @Sendable (Int) -> ErrorCode = { _ in .none }
        /// True holds the answer back until `releaseHeld` is called.
        var onMetadata: @Sendable (MetadataRequest) -> Bool = { _ in false }
        /// Topics of which the broker cannot say anything now.
        var metadataErrors: [String: ErrorCode] = [:]
        /// What becomes of a question for a producer's id.
        var onInitProducer: @Sendable (Int) -> ErrorCode = { _ in .none }
        /// Holds answers to questions for offsets back until `releaseHeld` is called.
        var holdsOffsets = false
        /// What becomes of each partition in a question for offsets.
        var onListOffsets: @Sendable (Int) -> ErrorCode = { _ in .none }
        var listOffsets = 0
        var produceRequests: [ProduceRequest] = []
        var fetchRequests: [FetchRequest] = []
        var hellos = 0
        var frameBytesMax: UInt32 = 16 << 20
        var batchBytesMax: UInt32 = 1 << 20
        /// Batches with a later event time are refused.
        var latestTime = Int64.max
        var initProducers: [InitProducerRequest] = []
        /// What hello says is spoken here.
        var operations = Operation.allCases.map { OperationVersions($0) }
        var protocolVersion: UInt16 = 1
        var group = GroupScript()
        var queue = QueueScript()
    }

    final class Log {
        var batches: [(header: RecordBatchHeader, bytes: [UInt8])] = []
        var next: Int64 = 0
        var start: Int64 = 0
        var leaderEpoch: Int32 = 1
        var producers: [Int64: (epoch: Int16, next: Int32, recent: [(Int32, Int64)])] = [:]
        var gaps: [OffsetRange] = []
    }

    struct Topic {
        var id: TopicID
        var logs: [Log]
        var isCompacted = false
    }

    final class Peer: @unchecked Sendable {
        // Sendable: confined to the queue.
        let source: ReadinessSource
        let slab = ByteSlab(capacity: 8 << 20)
        var parked: [(header: FrameHeader, request: FetchRequest)] = []

        init(_ source: ReadinessSource) {
            self.source = source
        }
    }

    let queue = SerialQueue(label: "scripted-broker")
    let script = Mutex(Script())
    private(set) var address = ""
    private var listener: ReadinessSource?
    private var listening: SocketAddress?
    private var peers: [ObjectIdentifier: Peer] = [:]
    private(set) var topics: [String: Topic] = [:]
    private var lastTopic: UInt64 = 0
    private var lastProducer: Int64 = 0
    private var clusterID = TopicID(high: 1, low: 1)
    var held: [() -> Void] = []
    /// Confined to the queue.
    let group = ScriptedGroup()
    /// Confined to the queue.
    let handingOut = ScriptedQueue()

    init(topics: [String: Int] = [:]) throws {
        try listen(on: SocketAddress(parsing: "127.0.0.1:0"))
        onQueue { broker in
            for (name, partitions) in topics { broker.make(name, partitions) }
        }
    }

    private func listen(on wanted: SocketAddress) throws {
        let socket = try Socket.listen(on: wanted)
        let bound = try socket.localAddress()
        listening = bound
        address = bound.description
        onQueue { broker in
            let source = ReadinessSource(
                socket: socket, queue: broker.queue, onReadable: { broker.accept() })
            broker.listener = source
            source.resumeReading()
        }
    }

    /// Runs `body` on the queue and waits for it.
    func onQueue<R: Sendable>(_ body: @escaping @Sendable (ScriptedBroker) -> R) -> R {
        let result = Mutex<R?>(nil)
        let done = Latch()
        queue.execute {
            result.withLock { $0 = body(self) }
            done.arrive()
        }
        guard done.wait() else { preconditionFailure("the queue is stuck") }
        guard let value = result.withLock({ $0 }) else { preconditionFailure("did not run") }
        return value
    }

    func make(_ name: String, _ partitions: Int) {
        lastTopic += 1
        topics[name] = Topic(
            id: TopicID(high: 7, low: lastTopic), logs: (0..<partitions).map { _ in Log() })
    }

    func remake(_ name: String, _ partitions: Int) {
        onQueue { $0.make(name, partitions) }
    }

    /// Becomes another broker at the same address, with nothing in it but empty topics.
    func replace(_ topics: [String: Int]) {
        onQueue { broker in
            broker.clusterID = TopicID(high: 1, low: broker.clusterID.low + 1)
            broker.lastProducer = 0
            broker.topics = [:]
            for (name, partitions) in topics { broker.make(name, partitions) }
        }
        disconnectAll()
    }

    /// Changes a partition's log.
    func change(_ name: String, _ partition: Int, _ body: @escaping @Sendable (Log) -> Void) {
        onQueue { broker in
            guard let topic = broker.topics[name] else { return }
            body(topic.logs[partition])
            broker.wakeParked()
        }
    }

    /// For a script, which runs on the queue.
    func log(_ name: String) -> Log? {
        topics[name]?.logs.first
    }

    func addPartition(_ name: String) {
        onQueue { $0.topics[name]?.logs.append(Log()) }
    }

    func setCompacted(_ name: String) {
        onQueue { $0.topics[name]?.isCompacted = true }
    }

    /// What a partition holds, as (offset, value).
    func records(_ name: String, _ partition: Int = 0) -> [(offset: Int64, value: String)] {
        onQueue { broker in
            guard let log = broker.topics[name]?.logs[partition] else { return [] }
            var found: [(Int64, String)] = []
            for (header, bytes) in log.batches {
                var cursor = RecordCursor(header)
                let span = unsafe bytes.span.bytes
                while let fields = try? cursor.next(in: span) {
                    let text = fields.value.flatMap { span.string($0) } ?? ""
                    found.append((header.baseOffset + Int64(fields.offsetDelta), text))
                }
            }
            return found
        }
    }

    func append(_ name: String, _ partition: Int = 0, values: [String]) {
        onQueue { broker in
            guard let log = broker.topics[name]?.logs[partition] else { return }
            let slab = ByteSlab(capacity: 1 << 20)
            let builder = RecordBatchBuilder(slab: slab)
            for value in values {
                let bytes = Array(value.utf8)
                _ = unsafe builder.append(key: nil, value: bytes.span.bytes, timestamp: 1_000)
            }
            _ = builder.finish()
            broker.store(slab, 0..<slab.count, log)
            broker.wakeParked()
        }
    }

    /// Answers the requests that were held back: all, or the first so many.
    func releaseHeld(_ count: Int = .max) {
        onQueue { broker in
            let released = broker.held.prefix(count)
            broker.held.removeFirst(released.count)
            for answer in released { answer() }
        }
    }

    /// Reads on where it had stopped.
    func resumeReading() {
        onQueue { broker in
            for peer in broker.peers.values { peer.source.resumeReading() }
        }
    }

    /// Breaks all connections.
    func disconnectAll() {
        onQueue { broker in
            for peer in broker.peers.values { peer.source.cancel() }
            broker.peers = [:]
            broker.handingOut.waiting = []
        }
    }

    /// Stops listening and breaks all connections; `start` begins again at the same address.
    func stop() {
        let isClosed = Latch()
        onQueue { broker in
            guard let listener = broker.listener else { return isClosed.arrive() }
            listener.cancel { isClosed.arrive() }
            broker.listener = nil
        }
        guard isClosed.wait() else { preconditionFailure("the queue is stuck") }
        disconnectAll()
        // Answers that nobody can get any more hold their peers, and those this.
        onQueue { $0.held = [] }
    }

    func start() throws {
        guard let listening else { return }
        try listen(on: listening)
    }

    // MARK: - Sockets

    private func accept() {
        guard let listener else { return }
        while case .connection(let socket, _)? = try? listener.socket.accept() {
            let source = ReadinessSource(socket: socket, queue: queue)
            let peer = Peer(source)
            source.setHandlers(
                onReadable: { [self] in readable(peer) }, onWritable: {})
            peers[ObjectIdentifier(peer)] = peer
            source.resumeReading()
        }
    }

    private func close(_ peer: Peer) {
        peers[ObjectIdentifier(peer)] = nil
        peer.source.cancel()
        // What is handed out is for who is there.
        handingOut.waiting.removeAll { $0.peer === peer }
    }

    private func readable(_ peer: Peer) {
        var result = IOResult.wouldBlock
        do {
            try unsafe peer.slab.fill { free throws(SystemError) -> Int in
                result = try unsafe peer.source.socket.receive(into: free)
                if case .count(let count) = result { return count }
                return 0
            }
        } catch {
            close(peer)
            return
        }
        guard case .count = result else {
            if result == .endOfStream { close(peer) }
            return
        }
        let decoder = FrameDecoder(frameBytesMax: 16 << 20)
        var position = 0
        while true {
            let slab = peer.slab
            guard let step = try? decoder.step(in: slab.bytes, at: position),
                case .frame(let header, let payload) = step
            else { break }
            handle(peer, header, payload)
            if peers[ObjectIdentifier(peer)] == nil { return }
            position = payload.upperBound
        }
        peer.slab.removePrefix(position)
    }

    func reply(
        _ peer: Peer, _ header: FrameHeader, _ message: some WireReply, attachment: [UInt8] = []
    ) {
        guard peers[ObjectIdentifier(peer)] != nil,
            var bytes = try? message.frame(correlation: header.correlation)
        else { return }
        bytes += attachment
        // The tests' answers fit the socket's buffer, or the reader is at work: try until sent.
        var sent = 0
        while sent < bytes.count {
            let step = unsafe bytes.withUnsafeBytes { all in
                unsafe try? peer.source.socket.send(UnsafeRawBufferPointer(rebasing: all[sent...]))
            }
            guard let step else { return close(peer) }
            if case .count(let count) = step { sent += count }
        }
    }

    // MARK: - Requests

    private func handle(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        switch header.known {
        case .hello: hello(peer, header)
        case .metadata: metadata(peer, header, payload)
        case .initProducer: initProducer(peer, header, payload)
        case .produce: produce(peer, header, payload)
        case .fetch: fetch(peer, header, payload)
        case .listOffsets: listOffsets(peer, header, payload)
        case .ping: reply(peer, header, PingReply())
        case .joinGroup: join(peer, header, payload)
        case .heartbeat: heartbeat(peer, header, payload)
        case .commitOffsets: commit(peer, header, payload)
        case .leaveGroup: leave(peer, header, payload)
        case .describeGroup: describe(peer, header, payload)
        case .receive: receive(peer, header, payload)
        case .settle: settle(peer, header, payload)
        default: reply(peer, header, PingReply(error: .unknownOperation, message: ""))
        }
    }

    private func hello(_ peer: Peer, _ header: FrameHeader) {
        let (error, script) = script.withLock { script in
            script.hellos += 1
            return (script.onHello(script.hellos), script)
        }
        guard error == .none else {
            reply(peer, header, HelloReply(error: error, message: "scripted"))
            return
        }
        var hello = HelloReply()
        hello.version = script.protocolVersion
        hello.operations = script.operations
        hello.brokerVersion = "scripted"
        hello.clusterID = clusterID
        hello.frameBytesMax = script.frameBytesMax
        hello.batchBytesMax = 8 << 20
        hello.requestsInFlightMax = 64
        reply(peer, header, hello)
    }

    private func metadata(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(MetadataRequest.self, peer, payload) else { return }
        var answer = MetadataReply()
        let wanted =
            request.names.map { item in (item.name, topics[item.name]) }
            + request.ids.map { item in
                let found = topics.first { $0.value.id == item.id }
                return (found?.key ?? "", found?.value)
            }
        answer.topics = wanted.map { name, topic in
            var item = TopicMetadata()
            item.name = name
            if let topic {
                item.id = topic.id
                item.partitions = Int32(topic.logs.count)
                item.durability = 1
                item.batchBytesMax = script.withLock { $0.batchBytesMax }
                item.compacted = topic.isCompacted
            } else {
                item.error = .unknownTopic
            }
            if let error = script.withLock({ $0.metadataErrors[name] }) { item.error = error }
            return item
        }
        if script.withLock({ $0.onMetadata })(request) {
            held.append { [self, answer] in reply(peer, header, answer) }
        } else {
            reply(peer, header, answer)
        }
    }

    private func initProducer(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(InitProducerRequest.self, peer, payload) else { return }
        let refusal = script.withLock { script in
            script.initProducers.append(request)
            return script.onInitProducer(script.initProducers.count)
        }
        guard refusal == .none else {
            return reply(peer, header, InitProducerReply(error: refusal, message: "scripted"))
        }
        var answer = InitProducerReply()
        if request.producerID < 0 {
            lastProducer += 1
            answer.producerID = lastProducer
            answer.producerEpoch = 0
        } else {
            answer.producerID = request.producerID
            answer.producerEpoch = request.producerEpoch + 1
        }
        reply(peer, header, answer)
    }

    private func produce(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard
            let (request, attachment) = try? ProduceRequest.decode(peer.slab, payload, version: 1)
        else { return close(peer) }
        let act = script.withLock { script in
            script.produceRequests.append(request)
            return script.onProduce(script.produceRequests.count, request)
        }
        var answer = ProduceReply()
        var position = attachment.lowerBound
        for entry in request.batches {
            let range = position..<(position + Int(entry.recordsLength))
            position = range.upperBound
            switch act {
            case .close: return close(peer)
            case .refuse(let code):
                answer.results.append(ProduceResult(error: code, message: "scripted"))
            case .normal, .appendThenClose, .silence, .hold, .holdAndStall:
                var result = append(entry, peer.slab, range)
                if result.error == .none { result.durability = request.acks }
                answer.results.append(result)
            }
        }
        wakeParked()
        switch act {
        case .appendThenClose: close(peer)
        case .silence: break
        case .hold, .holdAndStall:
            held.append { [self] in reply(peer, header, answer) }
            if case .holdAndStall = act { peer.source.suspendReading() }
        case .normal, .close, .refuse:
            if request.acks != 0 { reply(peer, header, answer) }
        }
    }

    private func append(
        _ entry: ProduceEntry, _ slab: ByteSlab, _ range: Range<Int>
    ) -> ProduceResult {
        guard let topic = topics.values.first(where: { $0.id == entry.topic }) else {
            return ProduceResult(error: .unknownTopicID, message: "")
        }
        let log = topic.logs[Int(entry.partition)]
        guard let header = try? RecordBatch.validateForAppend(slab.span(range)) else {
            return ProduceResult(error: .invalidRecord, message: "")
        }
        let (bytesMax, latest) = script.withLock { ($0.batchBytesMax, $0.latestTime) }
        guard range.count <= Int(bytesMax) else {
            return ProduceResult(error: .messageTooLarge, message: "")
        }
        guard header.maxTimestamp <= latest else {
            return ProduceResult(error: .invalidTimestamp, message: "")
        }
        var result = ProduceResult()
        result.leaderEpoch = log.leaderEpoch
        if header.hasProducerID {
            if let known = log.producers[header.producerID] {
                if header.producerEpoch < known.epoch {
                    return ProduceResult(error: .staleProducerEpoch, message: "")
                }
                if let old = known.recent.first(where: { $0.0 == header.baseSequence }),
                    header.producerEpoch == known.epoch
                {
                    result.baseOffset = old.1
                    result.duplicate = true
                    return result
                }
                let expected = header.producerEpoch == known.epoch ? known.next : 0
                if header.baseSequence != expected {
                    var refused = ProduceResult(error: .outOfOrderSequence, message: "")
                    refused.leaderEpoch = log.leaderEpoch
                    return refused
                }
            } else if header.baseSequence != 0 {
                return ProduceResult(error: .unknownProducer, message: "")
            }
            var state = log.producers[header.producerID] ?? (header.producerEpoch, 0, [])
            if state.epoch != header.producerEpoch { state = (header.producerEpoch, 0, []) }
            state.next = PartitionFlight.advance(header.baseSequence, by: header.recordCount)
            state.recent = (state.recent + [(header.baseSequence, log.next)]).suffix(5)
            log.producers[header.producerID] = state
        }
        result.baseOffset = log.next
        store(slab, range, log)
        return result
    }

    private func store(_ slab: ByteSlab, _ range: Range<Int>, _ log: Log) {
        RecordBatch.assign(
            baseOffset: log.next, leaderEpoch: log.leaderEpoch, in: slab, at: range.lowerBound)
        guard let header = try? RecordBatchHeader(reading: slab.bytes, at: range.lowerBound) else {
            return
        }
        log.batches.append((header, slab.bytes.array(range)))
        log.next = header.nextOffset
    }

    private func listOffsets(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(ListOffsetsRequest.self, peer, payload) else { return }
        let refusal = script.withLock { script in
            script.listOffsets += 1
            return script.onListOffsets(script.listOffsets)
        }
        var answer = ListOffsetsReply()
        answer.results = request.entries.map { entry in
            var result = ListOffsetsResult()
            guard refusal == .none else {
                result.error = refusal
                return result
            }
            guard let topic = topics.values.first(where: { $0.id == entry.topic }) else {
                result.error = .unknownTopicID
                return result
            }
            guard topic.logs.indices.contains(Int(entry.partition)) else {
                result.error = .unknownPartition
                return result
            }
            let log = topic.logs[Int(entry.partition)]
            result.offset = entry.kind == OffsetKind.earliest.rawValue ? log.start : log.next
            return result
        }
        if script.withLock({ $0.holdsOffsets }) {
            held.append { [self, answer] in reply(peer, header, answer) }
        } else {
            reply(peer, header, answer)
        }
    }

    // MARK: - Fetch

    private func fetch(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(FetchRequest.self, peer, payload) else { return }
        script.withLock { $0.fetchRequests.append(request) }
        if answer(peer, header, request, mustAnswer: request.maxWaitMilliseconds == 0) { return }
        peer.parked.append((header, request))
        let wait = Int64(request.maxWaitMilliseconds) * 1_000_000
        queue.execute(after: wait) { [self] in
            guard
                let index = peer.parked.firstIndex(where: {
                    $0.header.correlation == header.correlation
                })
            else { return }
            peer.parked.remove(at: index)
            _ = answer(peer, header, request, mustAnswer: true)
        }
    }

    private func wakeParked() {
        for peer in peers.values {
            peer.parked.removeAll { answer(peer, $0.header, $0.request, mustAnswer: false) }
        }
    }

    private func answer(
        _ peer: Peer, _ header: FrameHeader, _ request: FetchRequest, mustAnswer: Bool
    ) -> Bool {
        var answer = FetchReply()
        var attachment: [UInt8] = []
        var isWorth = mustAnswer
        for (index, entry) in request.partitions.enumerated() {
            var result = FetchResult()
            result.index = UInt32(index)
            read(entry, &result, &attachment)
            let hasSomething =
                result.error != .none || result.recordsLength > 0
                || result.gaps.contains { $0.from <= entry.offset && entry.offset < $0.to }
            if hasSomething || mustAnswer { answer.partitions.append(result) }
            if hasSomething { isWorth = true }
        }
        guard isWorth else { return false }
        let count = script.withLock { $0.fetchRequests.count }
        let onFetch = script.withLock { $0.onFetch }
        onFetch(count, request, &answer, &attachment)
        reply(peer, header, answer, attachment: attachment)
        return true
    }

    private func read(
        _ entry: FetchEntry, _ result: inout FetchResult, _ attachment: inout [UInt8]
    ) {
        guard let topic = topics.values.first(where: { $0.id == entry.topic }) else {
            result.error = .unknownTopicID
            return
        }
        let log = topic.logs[Int(entry.partition)]
        result.highWatermark = log.next
        result.logStart = log.start
        result.gaps = log.gaps
        guard entry.offset >= log.start, entry.offset <= log.next else {
            result.error = .offsetOutOfRange
            return
        }
        if log.gaps.contains(where: { $0.from < entry.offset && entry.offset < $0.to }) {
            result.error = .offsetsLost
            return
        }
        var checksum: UInt32 = 0
        for (header, bytes) in log.batches {
            let next = unsafe RecordBatch.prefixChecksum(bytes.span.bytes, continuing: checksum)
            defer { checksum = next }
            if header.nextOffset <= entry.offset { continue }
            if result.recordsLength == 0 { result.startChecksum = checksum }
            if result.recordsLength > 0,
                Int(result.recordsLength) + bytes.count > Int(entry.maxBytes)
            {
                break
            }
            result.recordsLength += UInt32(bytes.count)
            result.endChecksum = next
            attachment += bytes
        }
    }

    func decode<Message: WireRequest>(
        _ type: Message.Type, _ peer: Peer, _ payload: Range<Int>
    ) -> Message? {
        guard let message = try? type.decode(peer.slab, payload, version: 1).message else {
            close(peer)
            return nil
        }
        return message
    }
}
