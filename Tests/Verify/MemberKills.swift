import Glibc
import MartletClient
import MartletTestSupport

/// Members of a group under load, killed over and over: who commits after handling loses nothing, who
/// commits before handles nothing twice, and a queue loses nothing and keeps exact accounts.
struct MemberKills {
    let options: Options
    private static let slots = 4
    private static let partitions: Int32 = 8
    /// Until all that was acknowledged is committed, when nobody is killed any more.
    private static let secondsToCatchUp = 120

    init(_ options: Options) { self.options = options }

    /// What came of one kind of commit.
    struct Result: PartialResult {
        let commits: Member.Commits
        let kills: Int
        /// Kills of members that had handled something since their start.
        let killsAtWork: Int
        var acked = 0
        var handled = 0
        /// Lines of records that had one already.
        var again = 0
        /// Acknowledged, and without a line.
        var never = 0
        /// Times that the accounts of a queue were looked at.
        var looks = 0
        var violations: [String: [String]] = [:]

        var isViolated: Bool { !violations.isEmpty }

        /// Kills that met nothing prove nothing.
        var isConclusive: Bool {
            acked > kills && handled > kills && killsAtWork * 4 >= kills
                && (commits != .queue || looks > kills)
        }

        var summary: [String] {
            var lines: [String] = []
            for (id, examples) in violations.sorted(by: { $0.key < $1.key }) {
                lines.append("VIOLATION \(id): \(examples.count)")
                lines += examples.prefix(8).map { "  \($0)" }
            }
            lines.append(
                "  commit \(commits.rawValue) handling: \(kills) kills, \(killsAtWork) of members at work, \(acked) acknowledged, \(handled) handled, \(again) of them again, \(never) never"
                    + (looks == 0 ? "" : ", \(looks) looks at the accounts")
            )
            return lines
        }
    }

    func run() async throws -> CombinedVerdict<Result> {
        let work = "\(options.work)-\(getpid())"
        try? FileTree.remove(work)
        try FileTree.make(work)
        defer { try? FileTree.remove(work) }
        let broker = BrokerProcess(bin: options.bin, data: "\(work)/data", work: work)
        try broker.start()
        var random = SeededRandom(seed: options.seed)
        var results: [Result] = []
        for commits in Member.Commits.allCases {
            results.append(try await run(commits, broker.listen, work, &random))
        }
        try broker.terminate()
        return CombinedVerdict(heading: "member-kills: seed \(options.seed)", parts: results)
    }

    private func run(
        _ commits: Member.Commits, _ server: String, _ work: String, _ random: inout SeededRandom
    ) async throws -> Result {
        let topic = "verify-\(commits.rawValue)"
        let crew = Crew(
            program: "\(options.bin)/martlet-verify", server: server, topic: topic, work: work,
            commits: commits, slots: Self.slots)
        let ledger = Ledger()
        let configuration = ClientConfiguration(server: server, deadline: .seconds(120))
        let result = try await Martlet.withClient(configuration) { client in
            try await client.admin.createTopic(topic, partitions: Int(Self.partitions))
            let lanes = Lanes(topic: topic, partitions: Self.partitions, ledger: ledger)
            async let load: Void = lanes.run(client, count: options.lanes, producers: 2)
            defer { lanes.stop() }
            if commits == .queue {
                try await client.admin.createGroup(topic, .queue(.earliest))
                // No record may be taken for what ended its members.
                try await client.admin.setFailurePolicy(FailurePolicy(attempts: 0), of: topic)
            }
            try crew.start()
            var accounts = Accounts()
            let atWork = try await rage(crew, &random) {
                guard commits == .queue else { return }
                try accounts.check(try await client.admin.describeGroup(topic))
            }
            lanes.stop()
            try await load
            var result = Result(commits: commits, kills: options.kills, killsAtWork: atWork)
            if let stuck = try await catchUp(client, topic, crew) {
                result.violations["stuck"] = [stuck]
            }
            if commits == .queue {
                try accounts.check(try await client.admin.describeGroup(topic))
                accounts.close(acked: ledger.acked.count)
                result.violations["accounts"] = accounts.wrong.isEmpty ? nil : accounts.wrong
                result.looks = accounts.looks
            }
            return result
        }
        try crew.killAll()
        return try check(result, ledger.acked, crew.files)
    }

    /// Returns how many of the kills met a member that had handled something since its start.
    private func rage(
        _ crew: Crew, _ random: inout SeededRandom, look: () async throws -> Void
    ) async throws -> Int {
        var atWork = 0
        for kill in 1...max(1, options.kills) where options.kills > 0 {
            let slot = Int.random(in: 0..<Self.slots, using: &random)
            pause(milliseconds: Int.random(in: 0...400, using: &random))
            // Every other one at any moment: while it starts, joins, or waits for its partitions.
            if kill.isMultiple(of: 2) {
                try crew.awaitWork(of: slot)
                pause(milliseconds: Int.random(in: 0...100, using: &random))
            }
            if try crew.kill(slot) { atWork += 1 }
            try await look()
            if kill.isMultiple(of: 100) { Console.write("  \(kill) kills") }
        }
        return atWork
    }

    /// Waits until the group has committed everything. Returns what is left when it does not come.
    private func catchUp(
        _ client: MartletClient, _ group: String, _ crew: Crew
    ) async throws -> String? {
        var left: Int64 = -1
        for _ in 0..<(Self.secondsToCatchUp * 10) {
            try crew.checkAlive()
            left = try await client.admin.describeGroup(group).lag
            if left == 0 { return nil }
            pause(milliseconds: 100)
        }
        return "\(left) records are not committed \(Self.secondsToCatchUp) s after the last kill"
    }

    /// Holds the members' lines against what was acknowledged.
    private func check(
        _ result: Result, _ acked: [Ledger.Acked], _ files: [String]
    ) throws -> Result {
        var result = result
        var lines: [Effects.Line: (count: Int, identity: UInt64)] = [:]
        for file in files {
            try Effects.read(file) { line, identity in
                result.handled += 1
                if let (count, known) = lines[line] {
                    result.again += 1
                    lines[line] = (count + 1, known)
                    if known == identity { return }
                    result.violations["offset-conflict", default: []].append("\(line)")
                } else {
                    lines[line] = (1, identity)
                }
            }
        }
        result.acked = acked.count
        for ack in acked {
            let line = Effects.Line(partition: ack.partition, offset: ack.offset)
            guard let (_, identity) = lines[line] else {
                result.never += 1
                if result.commits != .before {
                    result.violations["lost", default: []].append("\(line)")
                }
                continue
            }
            // The ledger counts from 1.
            if identity + 1 != ack.identity {
                result.violations["phantom", default: []].append("\(line): \(identity)")
            }
        }
        if result.commits == .before, result.again > 0 {
            result.violations["twice"] = lines.filter { $0.value.count > 1 }.map { "\($0.key)" }
        }
        return result
    }
}

/// What a queue group says of where its records are, held against itself at any time and against what
/// was acknowledged at the end.
private struct Accounts {
    private(set) var looks = 0
    private(set) var wrong: [String] = []
    private var last: GroupDescription?

    mutating func check(_ group: GroupDescription) throws {
        looks += 1
        last = group
        for line in group.queues {
            let sum =
                line.acked + line.expired + line.dead + line.inFlight + line.delayed + line.parked
                + line.ready
            guard let end = line.highWatermark, sum != end - line.start else { continue }
            wrong.append("\(line) is \(sum) of \(end - line.start)")
        }
    }

    mutating func close(acked: Int) {
        let lines = last?.queues ?? []
        let done = lines.reduce(0) { $0 + $1.acked }
        // A record whose acknowledgement was lost on its way may be there too.
        let isOver = lines.allSatisfy {
            $0.expired == 0 && $0.dead == 0 && $0.parked == 0 && $0.lag == 0
        }
        if done < acked || !isOver {
            wrong.append("\(done) done of \(acked) that were acknowledged: \(lines)")
        }
    }
}

/// The members' processes.
final class Crew {
    private let program: String
    private let server: String
    private let topic: String
    private let work: String
    private let commits: Member.Commits
    private let slots: Int
    private var members: [(child: ChildProcess, sizeAtStart: Int)] = []

    init(
        program: String, server: String, topic: String, work: String, commits: Member.Commits,
        slots: Int
    ) {
        self.program = program
        self.server = server
        self.topic = topic
        self.work = work
        self.commits = commits
        self.slots = slots
    }

    var files: [String] { (0..<slots).map(file) }

    private func file(_ slot: Int) -> String { "\(work)/\(topic)-\(slot)" }

    func start() throws {
        for slot in 0..<slots { members.append(try member(slot)) }
    }

    private func member(_ slot: Int) throws -> (ChildProcess, Int) {
        let child = try ChildProcess(
            program, ["member", server, topic, file(slot), commits.rawValue, "\(slot)"])
        return (child, Effects.size(file(slot)))
    }

    /// Kills a member and starts it again. Returns whether it had handled something.
    func kill(_ slot: Int) throws -> Bool {
        try checkAlive()
        let child = members[slot].child
        child.kill()
        guard child.wait(seconds: 60) != nil else { throw VerifyError("a member did not die") }
        let hasHandled = hasHandled(slot)
        members[slot] = try member(slot)
        return hasHandled
    }

    private func hasHandled(_ slot: Int) -> Bool {
        Effects.size(file(slot)) > members[slot].sizeAtStart
    }

    /// Waits until a member has handled something since its start, for a few seconds.
    func awaitWork(of slot: Int) throws {
        for _ in 0..<500 where !hasHandled(slot) {
            try checkAlive()
            pause(milliseconds: 10)
        }
    }

    func killAll() throws {
        for (child, _) in members {
            child.kill()
            guard child.wait(seconds: 60) != nil else { throw VerifyError("a member did not die") }
        }
        members = []
    }

    func checkAlive() throws {
        for (child, _) in members where child.ending != nil {
            throw VerifyError(
                "a member ended by itself: \(child.output) \(child.errorOutput.suffix(2_000))")
        }
    }
}
