import Glibc
import MartletClient
import MartletTestSupport

/// The whole run: load, kills, restarts, complete reads, verdict.
struct Campaign {
    let options: Options
    private static let topic = "verify"
    /// A complete read after so many kills, and at the end.
    private static let killsPerDrain = 100

    init(_ options: Options) { self.options = options }

    struct Outcome: Verdict {
        let kills: Int
        let killsWithOpenRequests: Int
        let totals: Ledger.Totals
        let seed: UInt64
        let fault: String

        private var isConclusive: Bool {
            totals.acked > kills && killsWithOpenRequests * 10 >= kills * 9
        }

        var judgement: Judgement {
            Judgement(isViolated: !totals.violations.isEmpty, isConclusive: isConclusive)
        }

        var summary: String {
            var lines: [String] = []
            for (id, examples) in totals.violations.sorted(by: { $0.key < $1.key }) {
                lines.append("VIOLATION \(id): \(examples.count)")
                lines += examples.prefix(8).map { "  \($0)" }
            }
            let share = kills == 0 ? 0 : killsWithOpenRequests * 100 / kills
            lines.append(
                "\(fault): \(kills) kills, \(share) % with requests open, \(totals.acked) acknowledged, \(totals.read) read, \(totals.unknown) unknown, seed \(seed)"
            )
            for (why, count) in totals.reasons.sorted(by: { $0.value > $1.value }).prefix(5) {
                lines.append("  not acknowledged (\(count)): \(why)")
            }
            for id in ["lost-acked", "duplicate", "offset-conflict"] {
                lines.append("  \(id): \(totals.violations[id]?.count ?? 0)")
            }
            lines.append(judgement.word)
            return lines.joined(separator: "\n")
        }
    }

    func run() async throws -> Outcome {
        let work = "\(options.work)-\(getpid())"
        try? FileTree.remove(work)
        try FileTree.make(work)
        defer { try? FileTree.remove(work) }
        let disk = try makeDisk(work)
        defer { disk.remove() }
        let broker = BrokerProcess(bin: options.bin, data: disk.data, work: work)
        try broker.start()
        let ledger = Ledger()
        let lanes = Lanes(topic: Self.topic, partitions: options.partitions, ledger: ledger)
        let configuration = ClientConfiguration(server: broker.listen, deadline: .seconds(120))
        let killed = try await Martlet.withClient(configuration) { client in
            _ = try await client.admin.createTopic(
                Self.topic, partitions: Int(options.partitions),
                settings: ["segment.bytes": "1048576"])
            let reading = Reading(client: client, topic: Self.topic, ledger: ledger)
            async let load: Void = lanes.run(client, count: options.lanes, producers: 4)
            let tail = Task { try await reading.tail() }
            defer { lanes.stop() }
            let killed = try await rage(broker, disk, lanes, reading, ledger)
            lanes.stop()
            try await load
            tail.cancel()
            _ = await tail.result
            ledger.check(try await reading.drain())
            return killed
        }
        try broker.terminate()
        return Outcome(
            kills: options.kills, killsWithOpenRequests: killed, totals: ledger.totals,
            seed: options.seed, fault: options.fault.rawValue)
    }

    private func makeDisk(_ work: String) throws -> any Disk {
        switch options.fault {
        case .crashLoop, .memberKills, .history, .replay: PlainDisk(data: "\(work)/data")
        case .powerCut: try LoopDisk(.ext4, work: work, tool: "\(options.bin)/martlet-powercut")
        case .powerCutXFS: try LoopDisk(.xfs, work: work, tool: "\(options.bin)/martlet-powercut")
        }
    }

    /// Takes the broker down `kills` times. Returns how many times requests were open.
    private func rage(
        _ broker: BrokerProcess, _ disk: any Disk, _ lanes: Lanes, _ reading: Reading,
        _ ledger: Ledger
    ) async throws -> Int {
        var random = SeededRandom(seed: options.seed)
        var withOpenRequests = 0
        for kill in 1...max(1, options.kills) where options.kills > 0 {
            pause(milliseconds: Int.random(in: 0...400, using: &random))
            if broker.hasEnded {
                throw VerifyError("martletd ended by itself: \(broker.lastWords)")
            }
            if lanes.openRequests > 0 { withOpenRequests += 1 }
            try disk.cut(broker: broker.processID)
            try broker.kill()
            try disk.restore()
            try broker.start()
            if kill % Self.killsPerDrain == 0 {
                _ = try await reading.drain()
                Console.write("  \(kill) kills, \(ledger.totals.acked) acknowledged")
            }
        }
        return withOpenRequests
    }
}

/// Folders of a campaign.
enum FileTree {
    static func make(_ path: String) throws {
        guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw VerifyError("cannot make \(path)")
        }
    }

    static func remove(_ path: String) throws {
        let child = try ChildProcess("/bin/rm", ["-rf", path])
        _ = child.wait(seconds: 120)
    }
}
