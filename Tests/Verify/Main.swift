import Glibc
import MartletClient
import MartletSystem
import MartletTestSupport

/// `martlet-verify crash-loop|power-cut|power-cut-xfs|member-kills|history|replay
/// [--kills N] [--events N] [--seconds N] [--controls 1] [--plant BUG] [--keep 1] [--seed N] [--bin DIR] [--work DIR]`
///
/// Drives a real `martletd` with idempotent producers, takes it down at random moments, brings it
/// back, and holds everything that readers see against everything that was acknowledged. The
/// records of what was acknowledged live here, outside the broker's disk. `member-kills` leaves the
/// broker alone and kills members of groups.
///
/// Exit: 0 all invariants hold, 1 a violation, 2 inconclusive (too little was acknowledged, too few
/// kills met open requests) or wrong usage.
@main
struct Main {
    static func main() async {
        let options: Options
        do {
            if CommandLine.arguments.dropFirst().first == "member" {
                try await Member(Array(CommandLine.arguments.dropFirst(2))).run()
                exit(0)
            }
            if CommandLine.arguments.dropFirst().first == "doomed-member" {
                try await DoomedMember(Array(CommandLine.arguments.dropFirst(2))).run()
                exit(0)
            }
            if CommandLine.arguments.dropFirst().first == "failing-member" {
                try await FailingMember(Array(CommandLine.arguments.dropFirst(2))).run()
                exit(0)
            }
            if CommandLine.arguments.dropFirst().first == "history-worker" {
                try await HistoryWorker(Array(CommandLine.arguments.dropFirst(2))).run()
                exit(0)
            }
            if CommandLine.arguments.dropFirst().first == "history-check" {
                // What is written already: no more need have happened than there is.
                let files = Array(CommandLine.arguments.dropFirst(2))
                tell(try HistoryVerdict(files: files, seconds: 0, seed: 0))
            }
            options = try Options(CommandLine.arguments)
        } catch {
            Console.write("\(error)")
            exit(2)
        }
        do {
            if options.fault == .memberKills {
                tell(try await MemberKills(options).run())
            }
            if options.fault == .replay {
                tell(try await ReplayRun(options).run())
            }
            if options.fault == .history {
                let verdict = try await History(options, plant: options.plant).run()
                guard options.hasControls, verdict.judgement == .passed else { tell(verdict) }
                Console.write(verdict.summary)
                exit(try await HistoryControls(options: options).run() ? 0 : 1)
            }
            tell(try await Campaign(options).run())
        } catch {
            Console.write("inconclusive: \(error)")
            exit(2)
        }
    }

    private static func tell(_ verdict: some Verdict) -> Never {
        Console.write(verdict.summary)
        exit(verdict.judgement.rawValue)
    }
}

struct VerifyError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

enum Console {
    static func write(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(1, $0.baseAddress, $0.count) }
    }
}

/// What the command line says.
struct Options: Sendable {
    enum Fault: String, Sendable {
        /// `kill -9`: the page cache survives.
        case crashLoop = "crash-loop"
        /// The file system is shut down without its journal: what was not synced is gone.
        case powerCut = "power-cut"
        /// The same on XFS.
        case powerCutXFS = "power-cut-xfs"
        /// `kill -9` of members of a group; the broker stays.
        case memberKills = "member-kills"
        /// All of it against groups, with a history of each process.
        case history
        /// Many records that are sent to groups again, under `kill -9` of the broker.
        case replay
    }

    var fault = Fault.crashLoop
    var kills = 30
    /// Records that are there before a replay.
    var events = 20_000
    var seconds = 15
    /// A bug that broker or members have on purpose; debug builds only.
    var plant: String?
    /// Whether bugs are planted, too, each of which must be found.
    var hasControls = false
    /// The histories stay.
    var keeps = false
    var seed: UInt64 = 1
    var bin = ".build/debug"
    var work = "/tmp/martlet-verify"
    var lanes = 24
    var partitions: Int32 = 4

    init(_ arguments: [String]) throws {
        guard arguments.count >= 2, let fault = Fault(rawValue: arguments[1]) else {
            throw VerifyError(
                "usage: martlet-verify crash-loop|power-cut|power-cut-xfs|member-kills|history|replay [--kills N] [--events N] [--seconds N] [--controls 1] [--plant BUG] [--keep 1] [--seed N] [--bin DIR] [--work DIR] [--lanes N]"
            )
        }
        self.fault = fault
        var rest = arguments.dropFirst(2)
        while let flag = rest.popFirst() {
            guard let value = rest.popFirst() else { throw VerifyError("\(flag) needs a value") }
            switch flag {
            case "--kills": kills = try Self.number(flag, value)
            case "--events": events = try Self.number(flag, value)
            case "--seconds": seconds = try Self.number(flag, value)
            case "--plant": plant = value
            case "--controls": hasControls = try Self.number(flag, value) > 0
            case "--keep": keeps = try Self.number(flag, value) > 0
            case "--seed": seed = UInt64(try Self.number(flag, value))
            case "--lanes": lanes = try Self.number(flag, value)
            case "--bin": bin = value
            case "--work": work = value
            default: throw VerifyError("unknown flag \(flag)")
            }
        }
    }

    private static func number(_ flag: String, _ text: String) throws -> Int {
        guard let value = Int(text), value >= 0 else {
            throw VerifyError("\(flag): \(text) is not a number")
        }
        return value
    }
}
