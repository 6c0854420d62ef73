import MartletStorage
import MartletTestSupport

/// Runs a scenario with its n-th disk operation failing, once or for ever, and judges what the
/// engine says and what is on the disk afterwards.
struct FaultCampaign {
    enum Fault: CaseIterable, Sendable {
        case inputOutputOnce, inputOutputForEver, noSpaceOnce, noSpaceForAWhile

        func at(_ operation: Int) -> DiskFault {
            switch self {
            case .inputOutputOnce:
                DiskFault(kind: .inputOutput, operation: operation, isLasting: false)
            case .inputOutputForEver:
                DiskFault(kind: .inputOutput, operation: operation, isLasting: true)
            case .noSpaceOnce: DiskFault(kind: .noSpace, operation: operation, isLasting: false)
            case .noSpaceForAWhile: DiskFault(kind: .noSpace, operation: operation, isLasting: true)
            }
        }

        var isNoSpace: Bool { self == .noSpaceOnce || self == .noSpaceForAWhile }
    }

    let scenario: Scenario
    let seed: UInt64
    var stride = 1
    private(set) var runs = 0
    private(set) var refusals = 0
    private(set) var violations: [String] = []

    init(_ scenario: Scenario, seed: UInt64) {
        self.scenario = scenario
        self.seed = seed
    }

    mutating func run() {
        var random = SeededRandom(seed: seed)
        let lifeSeed = random.next()
        let base = CrashLife(DiskState(), Model(), scenario, seed: lifeSeed, bugs: [])
        do { try base.begin() } catch { violations.append("\(error)") }
        for _ in 0..<scenario.steps { base.step() }
        let operations = base.disk.operations
        for fault in Fault.allCases {
            var operation = stride > 1 ? random.below(stride) : 0
            while operation < operations, violations.isEmpty {
                run(fault, operation, lifeSeed, &random)
                operation += stride
            }
        }
    }

    private mutating func run(
        _ fault: Fault, _ operation: Int, _ lifeSeed: UInt64, _ random: inout SeededRandom
    ) {
        runs += 1
        let life = CrashLife(DiskState(), Model(), scenario, seed: lifeSeed, bugs: [])
        life.disk.setFault(fault.at(operation))
        do {
            try life.begin()
        } catch {
            if life.disk.faultHits == 0 { life.world.change { $0.violate("start", "\(error)") } }
        }
        for step in 0..<scenario.steps {
            if step > scenario.steps / 2, fault == .noSpaceForAWhile { life.disk.setFault(nil) }
            life.step()
        }
        life.pumpAll()
        judge(life, fault)
        refusals += life.disk.faultHits
        let what = "\(fault) at operation \(operation)"
        collect(life, what)
        recover(life, what, &random)
    }

    /// What must hold of the engine that met the fault.
    private func judge(_ life: CrashLife, _ fault: Fault) {
        guard life.engine != nil, !life.failedToOpen else { return }
        let isFatal = life.world.isFatal
        if life.disk.failedSync, !isFatal {
            life.world.change { $0.violate("fsyncgate", "a sync failed and the engine goes on") }
        }
        guard fault.isNoSpace, !life.disk.failedSync else { return }
        if isFatal { life.world.change { $0.violate("disk-full", "a full disk was final") } }
        life.disk.setFault(nil)
        life.clock.advance(milliseconds: 2000)
        life.engine?.tick()
        life.pumpAll()
        if life.engine?.isWritable == false {
            life.world.change { $0.violate("disk-full", "not writable although there is space") }
        }
        life.drain()
    }

    private mutating func collect(_ life: CrashLife, _ what: String) {
        violations += life.world.model.violations.map {
            "\(scenario.name) seed \(seed) \(what): \($0)"
        }
        guard CampaignSettings.traces, !life.world.model.violations.isEmpty else { return }
        for line in life.disk.trace { print("TRACE \(line)") }
        print("TRACE VIOLATION \(violations)")
    }

    /// The next start, on a disk that works again.
    private mutating func recover(
        _ life: CrashLife, _ what: String, _ random: inout SeededRandom
    ) {
        let kinds = CrashImage.Kind.allCases
        let kind = kinds[random.below(kinds.count)]
        var before = life.world.model
        before.violations = []
        // What a failed sync should have written is lost, whatever the page cache shows.
        if kind != .kill || life.disk.faultHits > 0 { before.loseWritten() }
        let model = before
        let image = CrashImage.make(life.disk.disk, kind, &random)
        let next = CrashLife(image, model, scenario, seed: random.next(), bugs: [])
        do {
            try next.open()
        } catch {
            violations.append("\(scenario.name) seed \(seed) \(what), \(kind): start: \(error)")
            return
        }
        // After a fault a retention run may stand half-way: its log start is what it reached.
        var starts: [LogName: Int64] = [:]
        for name in before.logs.keys { starts[name] = .max }
        CrashCheck(life: next, before: before, kind: kind, logStarts: starts).run()
        next.drain()
        collect(next, "\(what), then \(kind)")
    }
}
