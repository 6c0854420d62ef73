import MartletConfiguration
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// Looks at the whole broker and says what recovery did, what is unhealthy, and what to do about it.
struct Doctor {
    private static let warning: UInt8 = 1
    private static let critical: UInt8 = 2
    /// The log has them all.
    private static let aheadMax = 20
    /// Ten times what an idle disk of today needs for a large sync.
    private static let slowSyncNanoseconds: Int64 = 102_400_000

    private let services: BrokerServices
    private let facts: BrokerFacts
    private var reply = DoctorReply()

    init(_ services: BrokerServices, _ facts: BrokerFacts) {
        self.services = services
        self.facts = facts
    }

    consuming func examine() -> DoctorReply {
        recovery()
        disk()
        syncs()
        topics()
        groups()
        process()
        configuration()
        reply.findings.sort { $0.severity > $1.severity }
        if reply.findings.isEmpty {
            find(0, "healthy", "nothing needs attention")
        }
        return reply
    }

    private mutating func recovery() {
        let report = services.engine.startReport
        reply.recovery = report.events.prefix(WireLimits.eventsMax).map { event in
            var item = MartletWire.RecoveryEvent()
            item.topic = String(event.topic.prefix(80))
            item.partition = event.partition
            item.kind = event.kind.rawValue
            item.from = event.from
            item.to = event.to
            item.bytes = event.bytes
            item.detail = WireLimits.clip(event.detail)
            return item
        }
        figure("start.milliseconds", report.milliseconds, "ms")
        figure("start.clean", report.isClean ? 1 : 0, "bool")
        figure("leader.epoch", Int64(report.leaderEpoch))
        for (kind, severity, advice) in [
            (
                "damage", Self.critical,
                "see `martlet topic verify`; restore the range or skip it on purpose"
            ),
            (
                "removed", Self.warning,
                "put the log files back from a backup while the broker stands, or accept the loss"
            ),
            (
                "offline", Self.critical,
                "the data is untouched; the reasons stand below and in the log"
            ),
        ] {
            let count = report.events.count { $0.kind.rawValue == kind }
            guard count > 0 else { continue }
            find(
                severity, "recovery-" + kind,
                "\(Counted.text(count, "event")) at the last start", advice)
        }
    }

    private mutating func disk() {
        let engine = services.engine
        if !engine.isWritable {
            find(
                Self.critical, "read-only",
                "producers are refused, and groups wait: \(engine.space.reason)",
                "free space on the disk of the data directory; the broker goes on by itself")
        }
        if let space = engine.space.space {
            figure("disk.total", space.total, "bytes")
            figure("disk.available", space.available, "bytes")
            if space.total > 0, space.available < space.total / 10 {
                find(
                    Self.warning, "disk-space", "less than a tenth of the disk is free",
                    "lower the retention of large topics, or add disk")
            }
        }
        let failures = services.metrics.readFailures.value
        if failures > 0 {
            find(
                Self.critical, "read-failures",
                "the disk did not answer \(Counted.text(failures, "read")) since the start",
                "look at dmesg and READ_FAILED in the log; copy the data to another disk soon")
        }
        figure("unsynced", engine.unsyncedBytes, "bytes")
    }

    private mutating func syncs() {
        let histogram = services.engine.flushDurations
        let syncs = histogram.snapshot
        figure("syncs", Int64(clamping: syncs.count))
        guard syncs.count > 0 else { return }
        figure("sync.mean", syncs.mean / 1_000, "us")
        let longest = histogram.buckets.upperBounds.last ?? 0
        let p99 = syncs.bound(percent: 99, in: histogram.buckets) ?? longest
        // A bucket's bound: the true value lies below it.
        figure("sync.p99.below", p99 / 1_000, "us")
        guard p99 > Self.slowSyncNanoseconds else { return }
        find(
            Self.warning, "slow-sync",
            "one sync in a hundred takes longer than \(Self.slowSyncNanoseconds / 1_000_000) ms",
            "look at what else uses the disk; `martlet bench disk` measures it alone")
    }

    private mutating func topics() {
        let topics = services.engine.topics()
        // The broker's own are no topics of its users; status leaves them out too.
        let users = topics.filter { !$0.isInternal }
        figure("topics", Int64(users.count))
        for topic in topics {
            switch topic.offlineReason {
            case nil: break
            case .deleted: continue
            case .broken(let reason):
                find(
                    Self.critical, "topic-offline", "topic \(topic.name): \(reason)",
                    "its data is untouched; restore its topic.meta from a backup")
                continue
            }
            for log in topic.partitions {
                if let reason = log.offlineReason {
                    find(
                        Self.critical, "partition-offline",
                        "\(topic.name)/\(log.partition): \(reason.text)",
                        "its data is untouched; mend what the reason names, and restart")
                }
                let view = log.view
                guard !view.damaged.isEmpty else { continue }
                find(
                    Self.critical, "damage",
                    "\(topic.name)/\(log.partition) has "
                        + Counted.text(view.damaged.count, "damaged range"),
                    "`martlet topic verify` names them, `martlet topic skip-damage` passes them")
            }
        }
        let unrecovered = topics.flatMap(\.partitions).count { $0.isReadOnly }
        if unrecovered > 0 {
            find(
                Self.critical, "recovery-read-only",
                Counted.text(unrecovered, "partition", "takes", "take")
                    + " nothing: the last start had no space for their recovery",
                "free space on the disk of the data directory; the broker goes on by itself")
        }
        figure("partitions", users.reduce(0) { $0 + Int64($1.partitions.count) })
    }

    private mutating func groups() {
        let groups = services.groups.descriptions.sorted { $0.name < $1.name }
        figure("groups", Int64(groups.count))
        for text in services.groups.ahead.withLock({ $0 }).prefix(Self.aheadMax) {
            find(
                Self.critical, "groups-ahead", text,
                "records were lost before this start: look at what the data was copied from, and at "
                    + "the disk; nothing that came since is passed over")
        }
        var examination = GroupExamination(now: services.clock.wallMilliseconds())
        for group in groups {
            let lines = group.partitions.map { services.lag.line(group.name, $0, mayBlock: false) }
            examination.examine(group, lines, services.lag.shortages(lines))
        }
        examination.end()
        for finding in examination.findings {
            find(finding.severity, finding.code, finding.text, finding.advice)
        }
    }

    private mutating func process() {
        figure("connections", Int64(facts.connections()))
        figure("producers", Int64(services.producers.count))
        memory()
        if let resident = CurrentProcess.residentBytes {
            figure("process.resident", resident, "bytes")
        }
        if let open = CurrentProcess.openDescriptorCount {
            figure("process.descriptors", Int64(open))
        }
        if let threads = CurrentProcess.threadCount { figure("process.threads", Int64(threads)) }
        let limit = DescriptorBudget.limit
        figure("process.descriptors.max", Int64(limit))
        let (inForce, wanted) = facts.connectionsMax()
        if inForce < wanted {
            find(
                Self.warning, "descriptor-limit",
                "\(Counted.text(limit, "descriptor", "serves", "serve")) "
                    + "\(Counted.text(inForce, "connection")) beside "
                    + "the log files, connections.max is \(wanted)",
                "raise LimitNOFILE, or lower connections.max")
        }
    }

    private mutating func memory() {
        let (inForce, wanted) = (services.limits.memoryBytesMax, services.limits.memoryBytesWanted)
        figure("memory.held", Int64(services.memory.heldBytes), "bytes")
        figure("memory.max", Int64(inForce), "bytes")
        guard inForce < wanted else { return }
        find(
            Self.warning, "memory-limit",
            "\(inForce) bytes are there for requests and replies, \(wanted) are wanted",
            "the log says why (MEMORY_LIMITED): raise that limit, or lower memory.bytes.max")
    }

    /// Settings that are allowed and still deserve a second look.
    private mutating func configuration() {
        let settings = services.configuration
        for open in settings.openListeners {
            find(
                Self.warning, "open-listener",
                "whoever reaches \(open.name) on \(open.address) may do everything",
                "keep strangers away with a firewall, or listen on 127.0.0.1")
        }
        if settings.storage.diskFreeLowBytes == 0 {
            find(
                Self.warning, "no-disk-reserve", "disk.free.low is 0: the disk fills to the end",
                "leave room for the marks, retention and compaction")
        }
        if settings.topic.durability == "written" {
            find(
                Self.warning, "written-by-default",
                "topics that say nothing lose their newest records in a power cut",
                "set [topic] durability = durable, and `written` for the topics that may")
        }
    }

    private mutating func figure(_ name: String, _ value: Int64, _ unit: String = "") {
        guard reply.figures.count < WireLimits.namesMax else { return }
        reply.figures.append(DoctorFigure(name, value, unit: unit))
    }

    private mutating func find(
        _ severity: UInt8, _ code: String, _ text: String, _ advice: String = ""
    ) {
        guard reply.findings.count < WireLimits.namesMax else { return }
        reply.findings.append(
            DoctorFinding(
                severity: severity, code: code, text: WireLimits.clip(text), advice: advice))
    }
}
