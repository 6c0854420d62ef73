import MartletFormat
import MartletStorage
import MartletTestSupport
import Synchronization

/// A moment at which a crash may come: before an operation, with everything that was promised.
struct CrashPoint: Sendable {
    let operation: Int
    let disk: DiskState
    let model: Model
}

/// Keeps every such moment of a run.
final class CrashRecorder: Sendable {
    private let points = Mutex<[CrashPoint]>([])
    private let starts = Mutex<[Int: [LogName: Int64]]>([:])

    func attach(_ life: CrashLife) {
        let world = life.world
        life.disk.observe { [self] operation, disk in
            let point = CrashPoint(operation: operation, disk: disk, model: world.model)
            points.withLock { $0.append(point) }
        }
    }

    /// Notes the log starts at the end of a step.
    func endStep(_ step: Int, _ life: CrashLife) {
        var found: [LogName: Int64] = [:]
        for name in life.liveLogs() {
            if let log = life.log(name) { found[name] = log.view.logStart }
        }
        let result = found
        starts.withLock { $0[step] = result }
    }

    /// A crash may also come after the last operation.
    func finish(_ life: CrashLife) {
        life.disk.observe(nil)
        let last = CrashPoint(
            operation: life.disk.operations, disk: life.disk.disk, model: life.world.model)
        points.withLock { $0.append(last) }
    }

    var all: [CrashPoint] { points.withLock { $0 } }
    func logStarts(_ step: Int) -> [LogName: Int64] {
        starts.withLock { starts in
            // A step of a life that was opened only is not there: then nothing was asked for.
            starts[step] ?? [:]
        }
    }
}

/// Runs a scenario, crashes it before each of its disk operations, and judges what is left.
struct CrashCampaign {
    var scenario: Scenario
    var seed: UInt64
    var bugs: PlantedBugs = []
    /// Crash images made of each point.
    var imagesPerPoint = 1
    /// Every how manieth point is taken.
    var stride = 1
    /// Stop after so many crash points.
    var limit = Int.max
    /// Whether a byte of an acknowledged batch rots while the broker is down.
    var rots = false
    /// Stop at the first violation.
    var stopsEarly = true

    private(set) var points = 0
    private(set) var acks = 0
    private(set) var violations: [String] = []
    /// The lives that led to the newest crash, for a trace.
    private var history: [(what: String, life: CrashLife)] = []

    init(_ scenario: Scenario, seed: UInt64) {
        self.scenario = scenario
        self.seed = seed
    }

    private var isDone: Bool { points >= limit || (stopsEarly && !violations.isEmpty) }

    mutating func run() {
        var random = SeededRandom(seed: seed)
        let recorder = CrashRecorder()
        let life = CrashLife(
            DiskState(), Model(), scenario, seed: random.next(), bugs: bugs)
        recorder.attach(life)
        do { try life.begin() } catch { violations.append("begin: \(error)") }
        recorder.endStep(0, life)
        work(life, recorder, steps: scenario.steps)
        recorder.endStep(life.world.model.step, life)
        recorder.finish(life)
        acks += life.world.model.acks
        collect(life, "uncrashed run")
        let all = recorder.all
        var index = stride > 1 ? random.below(stride) : 0
        while index < all.count, !isDone {
            for _ in 0..<imagesPerPoint where !isDone {
                crash(all[index], recorder, &random, depth: 0)
            }
            index += stride
        }
    }

    private func work(_ life: CrashLife, _ recorder: CrashRecorder, steps: Int) {
        for _ in 0..<steps {
            let step = life.world.model.step
            life.step()
            recorder.endStep(step, life)
        }
    }

    private mutating func collect(_ life: CrashLife, _ what: String) {
        let found = life.world.model.violations
        guard !found.isEmpty else { return }
        violations += found.map { "\(scenario.name) seed \(seed) \(what): \($0)" }
        guard CampaignSettings.traces else { return }
        for (what, life) in history {
            print("TRACE --- \(what)")
            for line in life.disk.trace { print("TRACE \(line)") }
            for event in life.engine?.startReport.events ?? [] { print("TRACE event \(event)") }
        }
        print("TRACE VIOLATION \(found)")
    }

    /// Makes one image of a point, recovers from it, checks it, goes on working, and crashes again.
    private mutating func crash(
        _ point: CrashPoint, _ earlier: CrashRecorder, _ random: inout SeededRandom, depth: Int
    ) {
        points += 1
        let kinds = CrashImage.Kind.allCases
        // What rots must lie below a mark, and after `kill -9` every acknowledged batch does.
        let kind = rots ? .kill : kinds[random.below(kinds.count)]
        var image = CrashImage.make(point.disk, kind, &random)
        let rot = rots ? Rot.make(in: &image, point.model, &random) : nil
        var model = point.model
        model.violations = []
        if kind != .kill { model.loseWritten() }
        let life = CrashLife(image, model, scenario, seed: random.next(), bugs: bugs)
        let recorder = CrashRecorder()
        recorder.attach(life)
        let what = "life \(depth + 2) after \(kind) at operation \(point.operation)"
        history.removeSubrange(depth...)
        history.append((what, life))
        do {
            try life.open()
        } catch {
            violations.append("\(scenario.name) seed \(seed) \(what): start: \(error)")
            return
        }
        recorder.endStep(model.step, life)
        CrashCheck(
            life: life, before: point.model, kind: kind, logStarts: earlier.logStarts(model.step),
            rot: rot
        ).run()
        if rots {
            collect(life, what)
            return
        }
        // (After a clean stop a second start is the first unclean one.)
        if depth > 0, random.chance(1, in: 4), life.world.model.violations.isEmpty,
            life.engine?.startReport.isClean == false
        {
            checkTwice(life, &random)
        }
        work(life, recorder, steps: depth == 0 ? 6 : 4)
        life.drain()
        recorder.endStep(life.world.model.step, life)
        recorder.finish(life)
        acks += life.world.model.acks - point.model.acks
        collect(life, what)
        guard depth < 2, !isDone, random.chance(depth == 0 ? 1 : 2, in: depth == 0 ? 1 : 3) else {
            return
        }
        let next = recorder.all
        guard !next.isEmpty else { return }
        crash(next[random.below(next.count)], recorder, &random, depth: depth + 1)
    }

    /// Recovering twice gives what recovering once gave.
    private func checkTwice(_ life: CrashLife, _ random: inout SeededRandom) {
        let model = life.world.model
        let again = CrashLife(life.disk.disk, model, scenario, seed: random.next(), bugs: bugs)
        do {
            try again.open()
        } catch {
            life.world.change { $0.violate("twice", "start: \(error)") }
            return
        }
        for name in life.liveLogs() {
            guard let first = life.log(name), let second = again.log(name) else {
                life.world.change { $0.violate("twice", "\(name) is gone") }
                continue
            }
            var one = ClientReader(first)
            one.run()
            var two = ClientReader(second)
            two.run()
            let same =
                one.records.map(\.offset) == two.records.map(\.offset)
                && one.records.map(\.value) == two.records.map(\.value)
                && first.view.highWatermark == second.view.highWatermark
                && first.view.logStart == second.view.logStart
            if !same {
                life.world.change { model in
                    model.violate(
                        "twice",
                        "\(name): \(first.view.logStart) ... \(first.view.highWatermark) and \(second.view.logStart) ... \(second.view.highWatermark)"
                    )
                }
            }
        }
    }
}
