import Glibc

/// SplitMix64 with a seed that is printed, and taken from `MARTLET_SEED` when that is set.
struct TestRandom: RandomNumberGenerator {
    private var state: UInt64

    init(_ name: String = #function) {
        let seed = Self.environment("MARTLET_SEED") ?? UInt64.random(in: 0...UInt64.max)
        print("\(name): MARTLET_SEED=\(seed)")
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// `MARTLET_FUZZ_ITERATIONS` multiplies the work of every random test.
    func iterations(_ count: Int) -> Int {
        count * Int(clamping: Self.environment("MARTLET_FUZZ_ITERATIONS") ?? 1)
    }

    private static func environment(_ name: String) -> UInt64? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe UInt64(String(cString: value))
    }
}
