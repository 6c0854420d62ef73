import MartletClient
import MartletJSON

/// Writes down what the broker says of the groups.
struct HistoryLooks {
    private let client: MartletClient
    private let history: HistoryWriter
    private var number: Int64 = 0
    /// Below lies only what the free queue has settled, by partition.
    private(set) var floors: [Int32: Int64] = [:]

    init(_ client: MartletClient, _ history: HistoryWriter) {
        self.client = client
        self.history = history
    }

    /// Returns how much they have left.
    mutating func look() async throws -> Int64 {
        number += 1
        history.write(.committed, .invoke, ["n": .integer(number)])
        let stream = try await client.admin.describeGroup(HistoryWorker.streamGroup)
        for line in stream.partitions {
            history.write(
                .committed, .ok,
                [
                    "n": .integer(number), "k": JSONValue(line.partition.partition),
                    "off": .integer(line.committed ?? -1), "lag": .integer(line.lag ?? -1),
                    "m": .string(line.owner ?? ""),
                ])
        }
        let isOwned = stream.partitions.allSatisfy { $0.owner != nil && !$0.isLeaving }
        var left = stream.lag + (isOwned ? 0 : 1)
        left += try await client.admin.describeGroup(HistoryWorker.parkingGroup).lag
        for scene in QueueScene.allCases {
            let queue = try await client.admin.describeGroup(scene.group)
            write(queue)
            if scene == .free {
                for line in queue.queues { floors[line.partition.partition] = line.floor }
            }
            left += queue.lag + queue.deadLetters.notStored
            left += queue.replays.reduce(0) { $0 + $1.open }
        }
        return left
    }

    private func write(_ queue: GroupDescription) {
        let starts = Dictionary(
            queue.partitions.map { ($0.partition, $0.logStart ?? 0) },
            uniquingKeysWith: { first, _ in first })
        for line in queue.queues {
            guard let end = line.highWatermark else { continue }
            let parts: JSONObject = [
                "acked": .integer(line.acked), "in-flight": .integer(line.inFlight),
                "ready": .integer(line.ready), "delayed": .integer(line.delayed),
                "parked": .integer(line.parked), "expired": .integer(line.expired),
                "dead": .integer(line.dead),
            ]
            write(
                queue.name, line.partition, parts,
                [
                    "off": .integer(line.start), "to": .integer(end), "lag": .integer(line.lag),
                    "log": .integer(starts[line.partition] ?? 0),
                ])
        }
        for line in queue.replays {
            let parts: JSONObject = [
                "acked": .integer(line.handled), "in-flight": .integer(line.inFlight),
                "ready": .integer(line.ready), "delayed": .integer(line.delayed),
                "expired": .integer(line.expired), "dead": .integer(line.dead),
            ]
            write(queue.name, line.partition, parts, ["lane": 1, "to": .integer(line.sent)])
        }
    }

    private func write(
        _ group: String, _ partition: TopicPartition, _ parts: JSONObject, _ facts: JSONObject
    ) {
        var all: JSONObject = [
            "n": .integer(number), "m": .string(group), "k": JSONValue(partition.partition),
            "sum": .integer(parts.members.reduce(0) { $0 + ($1.value.integerValue ?? 0) }),
        ]
        for member in parts.members + facts.members { all[member.key] = member.value }
        history.write(.accounts, nil, all)
    }

    /// What a group counts when all is over, with what was sent to it again.
    func tally(_ scene: QueueScene) async throws {
        let queue = try await client.admin.describeGroup(scene.group)
        let dead =
            queue.queues.reduce(0) { $0 + $1.dead } + queue.replays.reduce(0) { $0 + $1.dead }
        history.write(
            .tally, nil,
            [
                "m": .string(scene.group), "dead": .integer(dead),
                "acked": .integer(queue.queues.reduce(0) { $0 + $1.acked }),
                "expired": .integer(queue.queues.reduce(0) { $0 + $1.expired }),
                "parked": .integer(queue.queues.reduce(0) { $0 + $1.parked }),
            ])
    }
}
