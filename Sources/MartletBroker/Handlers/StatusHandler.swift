import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// What the running broker tells about itself.
struct BrokerFacts: Sendable {
    let connections: @Sendable () -> Int
    /// How many there may be, and how many the configuration asks for.
    let connectionsMax: @Sendable () -> (inForce: Int, wanted: Int)
}

/// Ping, status and the doctor.
struct StatusHandler: Sendable {
    private let services: BrokerServices
    private let facts: BrokerFacts

    init(_ services: BrokerServices, facts: BrokerFacts) {
        self.services = services
        self.facts = facts
    }

    func ping(_ request: Request<PingRequest>) {
        var reply = PingReply()
        reply.wallMilliseconds = services.clock.wallMilliseconds()
        request.reply(reply)
    }

    func status(_ request: Request<StatusRequest>) {
        // Every partition is looked at: not on a loop.
        request.answer(on: services.readers.next()) { _ in report() }
    }

    private func report() -> StatusReply {
        let engine = services.engine
        let identity = services.identity
        let elapsed = services.clock.monotonicNanoseconds() - identity.startedMonotonic
        let topics = engine.topics()
        var reply = StatusReply()
        reply.version = identity.version
        reply.startedAt = identity.startedAt
        reply.uptimeMilliseconds = elapsed / 1_000_000
        reply.pid = identity.processID
        reply.cleanStart = engine.startReport.isClean
        reply.writable = engine.isWritable
        reply.reason = engine.space.reason
        reply.leaderEpoch = engine.leaderEpoch
        reply.topics = UInt32(clamping: topics.count { !$0.isInternal })
        reply.partitions = UInt32(
            clamping: topics.filter { !$0.isInternal }.reduce(0) { $0 + $1.partitions.count })
        reply.connections = UInt32(clamping: facts.connections())
        reply.recordsIn = services.metrics.recordsIn.value
        reply.bytesIn = services.metrics.batchBytesIn.value
        reply.bytesOut = services.metrics.batchBytesOut.value
        reply.diskTotal = engine.space.space?.total ?? -1
        reply.diskAvailable = engine.space.space?.available ?? -1
        reply.dataBytes = topics.reduce(0) { sum, topic in
            topic.partitions.reduce(sum) { $0 + $1.view.bytes }
        }
        return reply
    }

    func doctor(_ request: Request<DoctorRequest>) {
        request.answer(on: services.readers.next()) { _ in
            Doctor(services, facts).examine()
        }
    }
}
