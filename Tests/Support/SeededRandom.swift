import MartletSystem

/// SplitMix64: small, fast, and the same on every machine for the same seed.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    /// What it started from: every failure message shows it.
    package let seed: UInt64
    private var state: UInt64

    package init(seed: UInt64) {
        self.seed = seed
        self.state = seed
    }

    /// A generator with the seed of the environment variable `MARTLET_SEED`, or a new one.
    package static func fresh() -> SeededRandom {
        if let text = CurrentProcess.environment["MARTLET_SEED"], let seed = UInt64(text) {
            return SeededRandom(seed: seed)
        }
        return SeededRandom(seed: .random(in: 0...UInt64.max))
    }

    /// `fresh`, with the seed printed beside the name of the test.
    package static func announced(_ name: String = #function) -> SeededRandom {
        let random = fresh()
        print("\(name): MARTLET_SEED=\(random.seed)")
        return random
    }

    /// `count`, times `MARTLET_FUZZ_ITERATIONS` when that is set.
    package func iterations(_ count: Int) -> Int {
        count * (CurrentProcess.environment["MARTLET_FUZZ_ITERATIONS"].flatMap { Int($0) } ?? 1)
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound` - 1; 0 when `bound` is 0 or less.
    package mutating func below(_ bound: Int) -> Int {
        bound <= 0 ? 0 : Int(next(upperBound: UInt64(bound)))
    }

    package mutating func within(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &self)
    }

    /// True in `part` of `whole` cases.
    package mutating func chance(_ part: Int, in whole: Int) -> Bool {
        below(whole) < part
    }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            var value = next()
            for _ in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: value))
                value >>= 8
            }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// A generator of its own for one part of a test, so that parts do not disturb each other.
    package mutating func fork() -> SeededRandom {
        SeededRandom(seed: next())
    }
}
