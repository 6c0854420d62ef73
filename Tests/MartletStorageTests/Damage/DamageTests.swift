import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletStorage

/// Every kind of byte of every kind of file of a data directory, flipped, zeroed, cut off and
/// exchanged: nothing wrong is ever handed over, and what is lost is bounded and told.
@Suite struct DamageTests {
    private static let seed = CampaignSettings.seed

    /// Collects what a test finds, with the first few told in full.
    private final class Findings {
        var count = 0
        var violations: [String] = []

        func take(_ check: DamageCheck) {
            count += 1
            violations += check.violations
        }

        func report(_ what: String) {
            let few = violations.prefix(12).joined(separator: "\n")
            #expect(violations.isEmpty, "\(violations.count) in \(count) damages:\n\(few)")
            print("damage: \(what): \(count) damages, seed \(DamageTests.seed)")
        }
    }

    private static func bases() throws -> [DamageBase] {
        [try DamageBase(isClean: true, seed: seed), try DamageBase(isClean: false, seed: seed)]
    }

    private static func logName(_ path: String) -> LogName? {
        let parts = path.split(separator: "/")
        guard parts.count == 5, let topic = TopicID(String(parts[2])),
            let partition = Int32(parts[3])
        else { return nil }
        return LogName(topic: topic, partition: partition)
    }

    private static func run(
        _ base: DamageBase, _ damage: Damage, _ limits: DamageLimits, _ findings: Findings,
        _ change: (inout DiskState) -> Void
    ) {
        var disk = base.disk
        change(&disk)
        var check = DamageCheck(base, damage, limits)
        check.run(disk, number: findings.count)
        findings.take(check)
    }

    // MARK: segments

    /// What damage to these bytes of a segment may cost.
    private static func limits(
        _ base: DamageBase, _ path: String, _ bytes: Range<Int>, toEntry: Bool
    ) -> DamageLimits {
        var limits = DamageLimits()
        let bound = DamageBound(base.disk, log: path)
        guard let name = logName(path), var lost = bound.offsets(bytes, toEntry: toEntry) else {
            return limits
        }
        // Above the last mark of an unclean stop a bad batch ends the log.
        if !base.isClean, name.topic == DamageBase.written {
            limits.mayEnd = true
            lost = lost.lowerBound..<Int64.max
        }
        limits.lost[name] = lost
        return limits
    }

    private static func segments(_ base: DamageBase) -> [String] {
        base.disk.files(below: "data/topics").filter { $0.hasSuffix(".log") }
    }

    @Test func `a flipped byte of a segment costs its batch at most, and is told`() throws {
        let findings = Findings()
        var random = SeededRandom(seed: Self.seed)
        for base in try Self.bases() {
            for path in Self.segments(base) {
                let places = LogPlace.all(base.disk.content(path))
                for place in places {
                    for at in place.bytes {
                        let field = at - place.bytes.lowerBound
                        let odds = field < RecordBatch.headerBytes ? 70 : 250
                        guard CampaignSettings.damagesAll || random.chance(1, in: odds) else {
                            continue
                        }
                        let isPrefix = field < RecordBatch.prefixBytes
                        let isEpoch = (12..<16).contains(field)
                        let mask = UInt8(1 << random.below(8))
                        Self.run(
                            base, Damage(kind: .flip, path: path, at: at..<(at + 1)),
                            Self.limits(
                                base, path, at..<(at + 1), toEntry: isPrefix && !isEpoch),
                            findings
                        ) { $0.rot(path) { $0[at] ^= mask } }
                    }
                }
            }
        }
        findings.report("bytes of segments flipped")
    }

    @Test func `the 17 bytes outside a batch's checksum are checked as well`() throws {
        let findings = Findings()
        var random = SeededRandom(seed: Self.seed &+ 1)
        for base in try Self.bases() {
            for path in Self.segments(base) {
                let places = LogPlace.all(base.disk.content(path))
                guard !places.isEmpty, CampaignSettings.damagesAll || random.chance(1, in: 3) else {
                    continue
                }
                let place = places[random.below(places.count)]
                for field in 0..<RecordBatch.prefixBytes {
                    let at = place.bytes.lowerBound + field
                    let mask = UInt8(1 << random.below(8))
                    let isEpoch = (12..<16).contains(field)
                    Self.run(
                        base, Damage(kind: .flip, path: path, at: at..<(at + 1)),
                        Self.limits(base, path, at..<(at + 1), toEntry: !isEpoch), findings
                    ) { $0.rot(path) { $0[at] ^= mask } }
                }
            }
        }
        findings.report("bytes outside the checksum flipped")
    }

    /// Where compaction left holes, a wrong offset may look like a right one.
    @Test func `a wrong offset in a compacted segment is told`() throws {
        let findings = Findings()
        for base in try Self.bases() {
            for path in Self.segments(base) where path.contains(".g") {
                for place in LogPlace.all(base.disk.content(path)) {
                    let at = place.bytes.lowerBound + 7
                    for bit in 0..<8 {
                        Self.run(
                            base, Damage(kind: .flip, path: path, at: at..<(at + 1)),
                            Self.limits(base, path, at..<(at + 1), toEntry: true), findings
                        ) { $0.rot(path) { $0[at] ^= 1 << UInt8(bit) } }
                    }
                }
            }
        }
        findings.report("offsets of compacted batches changed")
    }

    @Test func `zeroed and cut segments cost the batches that were hit, and are told`() throws {
        let findings = Findings()
        var random = SeededRandom(seed: Self.seed &+ 2)
        for base in try Self.bases() {
            for path in Self.segments(base) {
                let size = base.disk.content(path).withoutZeros.count
                guard size > 0 else { continue }
                for _ in 0..<(CampaignSettings.damagesAll ? 60 : 1) {
                    let at = random.below(size)
                    let end = min(size, at + 1 + random.below(random.chance(1, in: 2) ? 40 : 700))
                    Self.run(
                        base, Damage(kind: .zero, path: path, at: at..<end),
                        Self.limits(base, path, at..<end, toEntry: true), findings
                    ) { $0.rot(path) { bytes in for index in at..<end { bytes[index] = 0 } } }
                    Self.run(
                        base, Damage(kind: .cut, path: path, at: at..<size),
                        Self.limits(base, path, at..<size, toEntry: true), findings
                    ) { $0.rot(path) { $0.removeSubrange(at...) } }
                }
            }
        }
        findings.report("segments zeroed and cut")
    }

    @Test func `two batches or two segments exchanged are told, and never mixed up`() throws {
        let findings = Findings()
        var random = SeededRandom(seed: Self.seed &+ 3)
        for base in try Self.bases() {
            let all = Self.segments(base)
            for path in all {
                let content = base.disk.content(path)
                let places = LogPlace.all(content)
                guard places.count > 2 else { continue }
                for _ in 0..<(CampaignSettings.damagesAll ? 40 : 1) {
                    let first = random.below(places.count - 1)
                    let second = first + 1 + random.below(places.count - first - 1)
                    let (one, two) = (places[first].bytes, places[second].bytes)
                    var changed = Array(content[..<one.lowerBound]) + content[two]
                    changed += content[one.upperBound..<two.lowerBound] + content[one]
                    changed += content[two.upperBound...]
                    let touched = one.lowerBound..<two.upperBound
                    let result = changed
                    Self.run(
                        base, Damage(kind: .swap, path: path, at: one, other: "\(two)"),
                        Self.limits(base, path, touched, toEntry: true), findings
                    ) { $0.rot(path) { $0 = result } }
                }
            }
            for path in all {
                let mates = all.filter { Self.logName($0) == Self.logName(path) && $0 > path }
                for mate in mates where CampaignSettings.damagesAll || random.chance(1, in: 3) {
                    var limits = Self.limits(base, path, 0..<Int.max, toEntry: true)
                    let more = Self.limits(base, mate, 0..<Int.max, toEntry: true)
                    limits.lost.merge(more.lost) { one, two in
                        one.lowerBound..<max(one.upperBound, two.upperBound)
                    }
                    limits.mayEnd = true
                    let (one, two) = (base.disk.content(path), base.disk.content(mate))
                    Self.run(
                        base, Damage(kind: .swap, path: path, at: 0..<one.count, other: mate),
                        limits, findings
                    ) {
                        $0.rot(path) { $0 = two }
                        $0.rot(mate) { $0 = one }
                    }
                }
            }
        }
        findings.report("batches and segments exchanged")
    }
}
