import MartletStorage
import MartletSystem
import MartletTestSupport
import Testing

/// Every storage scenario, crashed before every disk operation.
@Suite struct CrashCampaignTests {
    static let seed = CampaignSettings.seed

    @Test(arguments: Scenario.all.indices)
    func `every scenario survives a crash before every disk operation`(index: Int) {
        let scenario = Scenario.all[index]
        var random = SeededRandom(seed: Self.seed &+ UInt64(index))
        var points = 0
        var acks = 0
        let scenarios = Scenario.all.count
        let wanted = (CampaignSettings.points + scenarios - 1) / scenarios
        if let only = CampaignSettings.only, only != index { return }
        if CampaignSettings.isExact {
            var campaign = CrashCampaign(scenario, seed: Self.seed)
            campaign.run()
            #expect(campaign.violations.isEmpty, "\(campaign.violations.joined(separator: "\n"))")
            return
        }
        while points < wanted {
            var campaign = CrashCampaign(scenario, seed: random.next())
            campaign.limit = wanted - points
            campaign.run()
            points += campaign.points
            acks += campaign.acks
            #expect(campaign.violations.isEmpty, "\(campaign.violations.joined(separator: "\n"))")
            if !campaign.violations.isEmpty { break }
        }
        print("simdisk: \(scenario.name): \(points) crash points, \(acks) acks, seed \(Self.seed)")
    }
}

/// Every n-th operation fails, once and for ever.
@Suite struct FaultCampaignTests {
    @Test(arguments: Scenario.all.indices)
    func `every scenario survives any operation failing`(index: Int) {
        let scenario = Scenario.all[index]
        if let only = CampaignSettings.only, only != index { return }
        var random = SeededRandom(seed: CampaignSettings.seed &+ 3000 &+ UInt64(index))
        var campaign = FaultCampaign(
            scenario, seed: CampaignSettings.isExact ? CampaignSettings.seed : random.next())
        campaign.stride = CampaignSettings.isLong ? 1 : 11
        campaign.run()
        #expect(campaign.violations.isEmpty, "\(campaign.violations.joined(separator: "\n"))")
        print(
            "simdisk: \(scenario.name): \(campaign.runs) runs with a failing operation, seed \(CampaignSettings.seed)"
        )
    }
}

/// The campaign proves nothing unless it finds what is wrong.
@Suite struct PlantedBugTests {
    /// Each bug with scenarios that meet it.
    static let bugs: [(name: String, bug: PlantedBugs, scenarios: [Scenario], rots: Bool)] = [
        ("acknowledged before fdatasync", .ackBeforeSync, [.appends, .together], false),
        ("no deduplication", .noDeduplication, [.appends, .restarts], false),
        ("readers above the durable end", .readersAboveDurable, [.watched], false),
        ("no directory sync", .dropDirectorySync, [.rolls, .topics], false),
        ("no window of message ids", .noIDWindow, [.messages], false),
        ("truncated below a mark", .truncateBelowMark, [.appends, .rolls], true),
    ]

    @Test(arguments: bugs.indices)
    func `a planted bug is found in every run`(index: Int) {
        let (name, bug, scenarios, rots) = Self.bugs[index]
        for scenario in scenarios {
            var random = SeededRandom(seed: CampaignSettings.seed &+ 1000 &+ UInt64(index))
            var points = 0
            var found: [String] = []
            while points < 2000, found.isEmpty {
                var campaign = CrashCampaign(scenario, seed: random.next())
                campaign.bugs = bug
                campaign.rots = rots
                campaign.limit = 2000 - points
                campaign.run()
                // A bug may show before any crash.
                points += max(1, campaign.points)
                found = campaign.violations
            }
            #expect(!found.isEmpty, "\(name) was not found by \(scenario.name) in \(points) points")
            print(
                "simdisk: planted \(name): found by \(scenario.name) after \(points) points: \(found.first ?? "")"
            )
        }
    }

    @Test func `rot below a mark costs the rotten batch and nothing else`() {
        var random = SeededRandom(seed: CampaignSettings.seed &+ 2000)
        var points = 0
        for scenario in [Scenario.appends, .rolls, .together, .restarts] {
            var campaign = CrashCampaign(scenario, seed: random.next())
            campaign.rots = true
            campaign.stride = 3
            campaign.run()
            points += campaign.points
            #expect(campaign.violations.isEmpty, "\(campaign.violations.joined(separator: "\n"))")
        }
        print("simdisk: rot: \(points) crash points, seed \(CampaignSettings.seed)")
    }
}

/// The long form is asked for by the environment.
enum CampaignSettings {
    /// With one scenario: exactly this seed, for the hunt.
    static let isExact = CurrentProcess.environment["MARTLET_CAMPAIGN_EXACT"] != nil
    static let only = Int(CurrentProcess.environment["MARTLET_CAMPAIGN_SCENARIO"] ?? "")
    static let points = Int(CurrentProcess.environment["MARTLET_CAMPAIGN_POINTS"] ?? "") ?? 3000
    static let isLong = points >= 100_000
    /// Every byte of every file, not a sample.
    static let damagesAll = CurrentProcess.environment["MARTLET_CAMPAIGN_DAMAGE"] != nil
    static let traces = CurrentProcess.environment["MARTLET_CAMPAIGN_TRACE"] != nil
    static let seed = UInt64(CurrentProcess.environment["MARTLET_SEED"] ?? "") ?? 1
}
