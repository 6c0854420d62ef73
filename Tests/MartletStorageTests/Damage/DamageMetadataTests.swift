import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletStorage

/// The same for what stands beside the logs: indexes, marks, snapshots of producers, metadata.
@Suite struct DamageMetadataTests {
    private static let seed = CampaignSettings.seed

    private static func bases() throws -> [DamageBase] {
        [try DamageBase(isClean: true, seed: seed), try DamageBase(isClean: false, seed: seed)]
    }

    /// Flips, zeroes, cuts and exchanges in every file of one kind; what may be lost is said by
    /// `limits`.
    private static func run(
        _ what: String, _ every: Int, _ isOfKind: (String) -> Bool,
        _ limits: (Damage) -> DamageLimits
    ) throws {
        var violations: [String] = []
        var count = 0
        var random = SeededRandom(seed: seed &+ UInt64(what.utf8.count))
        for base in try bases() {
            let paths = base.disk.files(below: "data").filter(isOfKind)
            #expect(!paths.isEmpty, "no \(what)")
            for path in paths {
                for (damage, bytes) in damages(base, path, paths, every, &random) {
                    var disk = base.disk
                    for (path, content) in bytes { disk.rot(path) { $0 = content } }
                    var check = DamageCheck(base, damage, limits(damage))
                    check.run(disk, number: count)
                    violations += check.violations
                    count += 1
                }
            }
        }
        let few = violations.prefix(12).joined(separator: "\n")
        #expect(violations.isEmpty, "\(violations.count) in \(count) damages:\n\(few)")
        print("damage: \(what): \(count) damages, seed \(seed)")
    }

    private static func damages(
        _ base: DamageBase, _ path: String, _ paths: [String], _ every: Int,
        _ random: inout SeededRandom
    ) -> [(Damage, [String: [UInt8]])] {
        var result: [(Damage, [String: [UInt8]])] = []
        let content = base.disk.content(path)
        let size = content.withoutZeros.count
        let step = CampaignSettings.damagesAll ? 1 : every
        for at in stride(from: random.below(step), to: size, by: step) {
            var flipped = content
            flipped[at] ^= UInt8(1 << random.below(8))
            result.append((Damage(kind: .flip, path: path, at: at..<(at + 1)), [path: flipped]))
            var zeroed = content
            let end = min(size, at + 1 + random.below(90))
            for index in at..<end { zeroed[index] = 0 }
            if zeroed != content {
                result.append((Damage(kind: .zero, path: path, at: at..<end), [path: zeroed]))
            }
            result.append(
                (Damage(kind: .cut, path: path, at: at..<size), [path: Array(content[..<at])]))
        }
        let odds = CampaignSettings.damagesAll ? 1 : max(1, paths.count / 3)
        for other in paths where other > path && random.chance(1, in: odds) {
            result.append(
                (
                    Damage(kind: .swap, path: path, at: 0..<size, other: other),
                    [path: base.disk.content(other), other: content]
                ))
        }
        return result
    }

    @Test func `a damaged index costs nothing`() throws {
        try Self.run("indexes", 131, { $0.hasSuffix(".index") }) { _ in DamageLimits() }
    }

    @Test func `damaged marks cost no record`() throws {
        let isMarks = { (path: String) in path.contains("/marks-") }
        try Self.run("marks", 151, isMarks) { _ in
            var limits = DamageLimits()
            limits.mayReturn = true
            return limits
        }
    }

    @Test func `a damaged snapshot of producers stores nothing twice`() throws {
        try Self.run("snapshots", 61, { $0.hasSuffix(".producers") }) { _ in DamageLimits() }
    }

    @Test func `damaged topic metadata takes its topic offline and touches nothing`() throws {
        try Self.run("metadata", 17, { $0.hasSuffix("/topic.meta") }) { damage in
            var limits = DamageLimits()
            for path in [damage.path, damage.other] where !path.isEmpty {
                if let id = TopicID(String(path.split(separator: "/")[2])) {
                    limits.offline.insert(id)
                }
            }
            return limits
        }
    }

    @Test func `a damaged format version refuses the start and touches nothing`() throws {
        let path = "data/format.version"
        for base in try Self.bases() {
            let content = base.disk.content(path)
            for at in content.indices {
                for change in [[content[at] ^ 1], [0], []] as [[UInt8]] {
                    var damaged = base.disk
                    damaged.rot(path) { bytes in
                        if change.isEmpty {
                            bytes.removeSubrange(at...)
                        } else {
                            bytes[at] = change[0]
                        }
                    }
                    let disk = CrashDisk(damaged)
                    #expect(throws: StorageError.self) { try DamageBase.open(disk) }
                    let after = disk.disk
                    #expect(after.files() == damaged.files())
                    for file in after.files() {
                        #expect(after.content(file) == damaged.content(file))
                    }
                }
            }
        }
    }
}
