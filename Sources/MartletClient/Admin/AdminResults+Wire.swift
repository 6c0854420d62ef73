import MartletFormat
import MartletWire

// From the wire's messages to the public results.

extension TopicMetadata {
    var info: TopicInfo {
        TopicInfo(
            id: id.description, name: name, partitions: Int(partitions),
            durability: TopicDurability(rawValue: durability), batchBytesMax: Int(batchBytesMax),
            isCompacted: compacted)
    }
}

extension PartitionStatus {
    init(_ wire: PartitionDescription) {
        self.init(
            partition: wire.partition, state: PartitionState(rawValue: wire.state) ?? .offline,
            logStart: wire.logStart, highWatermark: wire.highWatermark,
            durableEnd: wire.durableEnd, logEnd: wire.logEnd, leaderEpoch: wire.leaderEpoch,
            segments: Int(wire.segments), bytes: wire.bytes,
            firstAppendTime: wire.firstAppendTime < 0 ? nil : wire.firstAppendTime,
            lastAppendTime: wire.lastAppendTime < 0 ? nil : wire.lastAppendTime,
            gaps: wire.gaps.compactMap(\.range), damaged: wire.damaged.compactMap(\.range),
            consumed: wire.consumed < 0 ? nil : wire.consumed,
            heldBy: wire.heldBy.isEmpty ? nil : wire.heldBy)
    }
}

extension BrokerStatus {
    init(_ wire: StatusReply) {
        self.init(
            version: wire.version, startedAt: wire.startedAt,
            uptime: .milliseconds(wire.uptimeMilliseconds), pid: wire.pid,
            isCleanStart: wire.cleanStart, isWritable: wire.writable, reason: wire.reason,
            leaderEpoch: wire.leaderEpoch, topics: Int(wire.topics),
            partitions: Int(wire.partitions), connections: Int(wire.connections),
            recordsIn: wire.recordsIn, bytesIn: wire.bytesIn, bytesOut: wire.bytesOut,
            diskTotal: wire.diskTotal, diskAvailable: wire.diskAvailable,
            dataBytes: wire.dataBytes)
    }
}

extension DoctorReport {
    init(_ wire: DoctorReply) {
        self.init(
            recovery: wire.recovery.map {
                RecoveryNote(
                    topic: $0.topic, partition: $0.partition, kind: $0.kind,
                    from: $0.from < 0 ? nil : $0.from, to: $0.to < 0 ? nil : $0.to,
                    bytes: $0.bytes, detail: $0.detail)
            },
            findings: wire.findings.map {
                HealthFinding(
                    severity: FindingSeverity(rawValue: $0.severity) ?? .critical, code: $0.code,
                    text: $0.text, advice: $0.advice)
            },
            figures: wire.figures.map {
                HealthFigure(name: $0.name, value: $0.value, unit: $0.unit)
            })
    }
}
