import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet group describe`.
enum GroupDescribeCommand {
    static let command: Command = Command(
        CommandSpec(
            "describe", aliases: ["show"], "Show a group's members, and how far it is.",
            arguments: [GroupCommands.argument],
            flags: [CommonFlags.output, CommonFlags.noHeaders],
            examples: [
                ExampleSpec("martlet group describe board", "For people"),
                ExampleSpec("martlet group describe board -o json", "For programs"),
            ])
    ) { context in
        let name = try context.argument(0)
        let format = context.format()
        let group = try await context.withClient { try await $0.admin.describeGroup(name) }
        switch format {
        case .table, .name, .raw: try context.output.write(text(group, context))
        case .json: try context.output.json(json(group))
        case .jsonl: try context.output.jsonLine(json(group))
        }
    }

    /// Readers of sequences, and handlers that do not ask for it, decide for themselves in a stream.
    private static func policy(_ group: GroupDescription) -> String {
        let text = GroupPolicyCommand.text(group.policy)
        switch group.kind {
        case .queue: return text
        case .stream: return text + " (members with failures = .byPolicy)"
        }
    }

    private static func text(_ group: GroupDescription, _ context: CommandContext) -> String {
        var facts = Facts()
        facts.add("group", group.name)
        facts.add("kind", kind(group.kind))
        facts.add("made", TimeText.text(group.createdAt))
        facts.add("members", "\(group.members.count)")
        facts.add("lag", "\(group.lag)" + (group.lag == 0 ? "" : ", \(age(group.lagTime)) old"))
        if let left = headroom(group.retentionHeadroom, group.retentionHeadroomBytes) {
            facts.add("until retention", left)
        }
        facts.add("when handlers fail", policy(group))
        facts.add("breaker", GroupBreakerCommand.text(group.breaker, group.policy.breaker))
        if let dead = dead(group.deadLetters) { facts.add("dead letters", dead) }
        if let times = HandlerTimeView.text(group.handlerTime) { facts.add("handlers", times) }
        for pause in group.pauses {
            facts.add("paused", "\(place(pause)) since \(TimeText.text(pause.since))")
        }
        var members = Table([
            .left("MEMBER"), .left("INSTANCE"), .left("CLIENT"), .right("PARTITIONS"),
            .left("TOPICS"),
        ])
        for member in group.members {
            members.add([
                member.id, member.instance ?? "", member.client, "\(member.partitions)",
                member.topics.joined(separator: ","),
            ])
        }
        var partitions = Table([
            .left("TOPIC"), .right("PARTITION"), .right("COMMITTED"), .right("END"),
            .right("LAG"), .right("AGE"), .right("HEADROOM"), .right("FAILING"), .right("PARKED"),
            .left("OWNER"), .right("EPOCH"),
        ])
        for line in group.partitions {
            partitions.add([
                line.partition.topic, "\(line.partition.partition)",
                line.committed.map { "\($0)" } ?? "never",
                line.highWatermark.map { "\($0)" } ?? "?", line.lag.map { "\($0)" } ?? "?",
                line.lag == 0 ? "" : line.lagTime.map(age) ?? "?",
                headroom(line.retentionHeadroom, line.retentionHeadroomBytes) ?? "",
                "\(line.failing)", "\(line.parked)",
                (line.owner ?? (line.isPaused ? "(paused)" : ""))
                    + (line.isLeaving ? " (leaving)" : ""), "\(line.epoch)",
            ])
        }
        let hasHeader = !context.invocation.has("no-headers")
        let places = group.kind == .stream ? partitions : queues(group)
        let handlers = HandlerTimeView.table(group.handlerTimeByType)
            .map { "\n" + $0.text(hasHeader: hasHeader) }
        return facts.text + "\n" + members.text(hasHeader: hasHeader) + "\n"
            + places.text(hasHeader: hasHeader)
            + (group.replays.isEmpty ? "" : "\n" + replays(group).text(hasHeader: hasHeader))
            + (handlers ?? "")
    }

    private static func replays(_ group: GroupDescription) -> Table {
        var table = Table([
            .left("SENT AGAIN"), .right("PARTITION"), .right("RECORDS"), .right("DONE"),
            .right("IN FLIGHT"), .right("READY"), .right("DELAYED"), .right("DEAD"),
            .right("EXPIRED"),
        ])
        for replay in group.replays {
            table.add([
                replay.partition.topic, "\(replay.partition.partition)", "\(replay.sent)",
                "\(replay.handled)", "\(replay.inFlight)", "\(replay.ready)", "\(replay.delayed)",
                "\(replay.dead)", "\(replay.expired)",
            ])
        }
        return table
    }

    private static func queues(_ group: GroupDescription) -> Table {
        var table = Table([
            .left("TOPIC"), .right("PARTITION"), .right("START"), .right("DONE"),
            .right("IN FLIGHT"), .right("READY"), .right("DELAYED"), .right("PARKED"),
            .right("DEAD"), .right("EXPIRED"), .right("LAG"), .right("HEADROOM"),
        ])
        let lines = Dictionary(
            group.partitions.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
        let begun = Set(group.queues.map(\.partition))
        for queue in group.queues {
            let line = lines[queue.partition]
            table.add([
                queue.partition.topic, "\(queue.partition.partition)", "\(queue.start)",
                "\(queue.acked)",
                "\(queue.inFlight)", "\(queue.ready)", "\(queue.delayed)", "\(queue.parked)",
                "\(queue.dead)", "\(queue.expired)", "\(queue.lag)",
                headroom(line?.retentionHeadroom, line?.retentionHeadroomBytes) ?? "",
            ])
        }
        for line in group.partitions where !begun.contains(line.partition) {
            // Nobody has asked for records there yet.
            table.add([
                line.partition.topic, "\(line.partition.partition)", "", "never", "0",
                line.lag.map { "\($0)" } ?? "?", "0", "0", "0", "0",
                line.lag.map { "\($0)" } ?? "?",
                headroom(line.retentionHeadroom, line.retentionHeadroomBytes) ?? "",
            ])
        }
        return table
    }

    /// nil: there are none.
    private static func dead(_ counts: DeadLetterCounts) -> String? {
        var parts: [String] = []
        if counts.dead > 0 {
            let oldest = counts.oldestAt.map { SystemClock().wallMilliseconds() - $0 }
            parts.append(
                Shown.count(counts.dead)
                    + (oldest.map { ", the oldest \(Shown.duration(milliseconds: $0)) old" } ?? ""))
        }
        if counts.replaying > 0 {
            parts.append("\(Shown.count(counts.replaying)) with the group again")
        }
        if counts.notStored > 0 {
            parts.append("\(Shown.count(counts.notStored)) to be written to their topic")
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }

    private static func kind(_ kind: GroupKind) -> String {
        switch kind {
        case .stream: "stream"
        case .queue(let start, let order):
            "queue, from the \(start == .earliest ? "earliest" : "latest")"
                + (order == .byKey ? ", in order by key" : "")
        }
    }

    private static func order(_ kind: GroupKind) -> JSONValue {
        switch kind {
        case .stream: .null
        case .queue(_, .free): .string("none")
        case .queue(_, .byKey): .string("key")
        }
    }

    private static func place(_ pause: GroupPause) -> String {
        pause.part?.word ?? "the whole group"
    }

    private static func age(_ time: Duration) -> String {
        Shown.duration(milliseconds: time.inMilliseconds)
    }

    /// What is left until retention takes something; nil when it never does.
    private static func headroom(_ time: Duration?, _ bytes: Int64?) -> String? {
        let parts = [time.map(age), bytes.map { Shown.bytes($0) }].compactMap(\.self)
        return parts.isEmpty ? nil : parts.joined(separator: ", ")
    }

    private static func seconds(_ time: Duration?) -> JSONValue {
        time.map { .double(Double($0.inMilliseconds) / 1_000) } ?? .null
    }

    private static func json(_ group: GroupDescription) -> JSONValue {
        [
            "name": .string(group.name),
            "kind": .string(group.kind == .stream ? "stream" : "queue"),
            "order": order(group.kind),
            "createdAt": .integer(group.createdAt),
            "lag": .integer(group.lag), "lagSeconds": seconds(group.lagTime),
            "headroomSeconds": seconds(group.retentionHeadroom),
            "headroomBytes": group.retentionHeadroomBytes.map { .integer($0) } ?? .null,
            "members": .array(
                group.members.map { member in
                    [
                        "id": .string(member.id),
                        "instance": member.instance.map { .string($0) } ?? .null,
                        "client": .string(member.client),
                        "partitions": JSONValue(member.partitions),
                        "topics": .array(member.topics.map { .string($0) }),
                    ]
                }),
            "partitions": .array(group.partitions.map(json)),
            "queues": .array(
                group.queues.map { queue in
                    [
                        "topic": .string(queue.partition.topic),
                        "partition": JSONValue(queue.partition.partition),
                        "start": .integer(queue.start), "floor": .integer(queue.floor),
                        "highWatermark": queue.highWatermark.map { .integer($0) } ?? .null,
                        "acked": .integer(queue.acked), "inFlight": .integer(queue.inFlight),
                        "ready": .integer(queue.ready), "delayed": .integer(queue.delayed),
                        "parked": .integer(queue.parked),
                        "dead": .integer(queue.dead), "expired": .integer(queue.expired),
                        "lag": .integer(queue.lag),
                    ]
                }),
            "replays": .array(
                group.replays.map { replay in
                    [
                        "topic": .string(replay.partition.topic),
                        "partition": JSONValue(replay.partition.partition),
                        "sent": .integer(replay.sent), "handled": .integer(replay.handled),
                        "inFlight": .integer(replay.inFlight), "ready": .integer(replay.ready),
                        "delayed": .integer(replay.delayed), "dead": .integer(replay.dead),
                        "expired": .integer(replay.expired),
                    ]
                }),
            "policy": GroupPolicyCommand.json(group.policy),
            "breaker": GroupBreakerCommand.json(group.breaker, group.policy.breaker),
            "deadLetters": [
                "dead": .integer(group.deadLetters.dead),
                "replaying": .integer(group.deadLetters.replaying),
                "notStored": .integer(group.deadLetters.notStored),
                "oldestAt": group.deadLetters.oldestAt.map { .integer($0) } ?? .null,
            ],
            "handlerTime": HandlerTimeView.json(group.handlerTime),
            "handlerTimeByType": HandlerTimeView.json(group.handlerTimeByType),
            "pauses": .array(
                group.pauses.map { pause in
                    [
                        "topic": pause.part.map { .string($0.topic) } ?? .null,
                        "partition": pause.part?.partition.map { JSONValue($0) } ?? .null,
                        "since": .integer(pause.since),
                    ]
                }),
        ]
    }

    private static func json(_ line: GroupPartitionInfo) -> JSONValue {
        [
            "topic": .string(line.partition.topic),
            "partition": JSONValue(line.partition.partition),
            "owner": line.owner.map { .string($0) } ?? .null, "epoch": JSONValue(line.epoch),
            "isLeaving": .boolean(line.isLeaving), "isPaused": .boolean(line.isPaused),
            "committed": line.committed.map { .integer($0) } ?? .null,
            "committedAt": line.committedAt.map { .integer($0) } ?? .null,
            "finished": .array(line.finished.map(RangeJSON.value)),
            "metadata": .string(line.metadata),
            "logStart": line.logStart.map { .integer($0) } ?? .null,
            "highWatermark": line.highWatermark.map { .integer($0) } ?? .null,
            "lag": line.lag.map { .integer($0) } ?? .null, "lagSeconds": seconds(line.lagTime),
            "headroomSeconds": seconds(line.retentionHeadroom),
            "headroomBytes": line.retentionHeadroomBytes.map { .integer($0) } ?? .null,
            "failing": .integer(line.failing), "parked": .integer(line.parked),
        ]
    }
}
