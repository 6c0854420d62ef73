import Testing

@testable import MartletGroups

/// How long a record that failed waits, by the policy of its group.
@Suite struct BackoffTests {
    private func policy(
        base: Int64 = 2_000, factor: Int32 = 200, cap: Int64 = 300_000, jitter: Int32 = 0
    ) -> FailurePolicy {
        var policy = FailurePolicy()
        policy.backoffMilliseconds = base
        policy.backoffFactorPercent = factor
        policy.backoffMaxMilliseconds = cap
        policy.jitterPercent = jitter
        return policy
    }

    private func pauses(_ policy: FailurePolicy, _ attempts: [UInt16]) -> [Int64] {
        attempts.map { policy.pauseMilliseconds(after: $0, noise: 0) }
    }

    @Test func `the first pause is the base, and each is so many times the one before`() {
        #expect(pauses(policy(), [1, 2, 3, 4]) == [2_000, 4_000, 8_000, 16_000])
        #expect(pauses(policy(factor: 150), [1, 2, 3]) == [2_000, 3_000, 4_500])
        #expect(pauses(policy(factor: 1_000), [1, 2, 3]) == [2_000, 20_000, 200_000])
        // Always the same.
        #expect(pauses(policy(factor: 100), [1, 2, 3, 1_000]) == [2_000, 2_000, 2_000, 2_000])
        // Nobody has begun with it yet: as after the first.
        #expect(pauses(policy(), [0]) == [2_000])
    }

    @Test func `no pause is longer than the longest, however many attempts there were`() {
        #expect(pauses(policy(), [8, 9, 10]) == [256_000, 300_000, 300_000])
        #expect(pauses(policy(cap: 5_000), [1, 2, 3]) == [2_000, 4_000, 5_000])
        #expect(pauses(policy(cap: 500), [1, 2]) == [500, 500])
        let last: [UInt16] = [100, 1_000, .max - 1, .max]
        #expect(pauses(policy(), last) == [300_000, 300_000, 300_000, 300_000])
    }

    @Test(arguments: [0, 1, 20, 50, 99, 100] as [Int32])
    func `chance shortens a pause by up to its share, and never makes it longer`(
        _ jitter: Int32
    ) {
        let policy = policy(jitter: jitter)
        for (attempts, pause) in zip([1, 2, 3, 9] as [UInt16], [2_000, 4_000, 8_000, 300_000]) {
            let most = pause * Int(jitter) / 100
            let found = (0...UInt64(most)).map {
                Int(policy.pauseMilliseconds(after: attempts, noise: $0))
            }
            // All of the share is used, each length as often as any other.
            #expect(found == Array((pause - most...pause).reversed()))
            let beyond = policy.pauseMilliseconds(after: attempts, noise: UInt64(most) + 1)
            #expect(Int(beyond) == pause)
        }
    }

    @Test func `what a damaged disk may say makes no pause below nothing, and no trap`() {
        let numbers: [Int64] = [.min, -1, 0, 1, 1 << 50, .max]
        let shares: [Int32] = [.min, -1, 0, 99, 100, 10_000, .max]
        var wrong: [String] = []
        for (base, cap) in numbers.flatMap({ base in numbers.map { (base, $0) } }) {
            for (factor, jitter) in shares.flatMap({ factor in shares.map { (factor, $0) } }) {
                let policy = policy(base: base, factor: factor, cap: cap, jitter: jitter)
                for attempts in [0, 1, 2, .max] as [UInt16] {
                    for noise in [0, 1, .max] as [UInt64] {
                        let pause = policy.pauseMilliseconds(after: attempts, noise: noise)
                        if !(0...min(max(cap, 0), 1 << 50) ~= pause) {
                            wrong.append("\(policy), \(attempts) attempts: \(pause)")
                        }
                    }
                }
            }
        }
        #expect(wrong == [])
    }
}
