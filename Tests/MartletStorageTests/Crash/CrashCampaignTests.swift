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
        let wanted = CampaignSettings.points / Scenario.all.count
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

/// The long form is asked for by the environment.
enum CampaignSettings {
    /// With one scenario: exactly this seed, for the hunt.
    static let isExact = CurrentProcess.environment["MARTLET_CAMPAIGN_EXACT"] != nil
    static let only = Int(CurrentProcess.environment["MARTLET_CAMPAIGN_SCENARIO"] ?? "")
    static let points = Int(CurrentProcess.environment["MARTLET_CAMPAIGN_POINTS"] ?? "") ?? 3000
    static let traces = CurrentProcess.environment["MARTLET_CAMPAIGN_TRACE"] != nil
    static let seed = UInt64(CurrentProcess.environment["MARTLET_SEED"] ?? "") ?? 1
}
