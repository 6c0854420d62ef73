import Dispatch
import MartletSystem
import Synchronization
import Testing

/// Mistakes on purpose: scripts/tsan and scripts/asan run them first and must find them.
@Suite struct PlantedTests {
    private static func isPlanted(_ mistake: String) -> Bool {
        CurrentProcess.environment["MARTLET_PLANTED_MISTAKE"] == mistake
    }

    private final class Unguarded: @unchecked Sendable {
        // Sendable: it is not. That is the mistake.
        var count = 0
        let here = Atomic<Int>(0)
    }

    @Test(.enabled(if: isPlanted("race")))
    func `planted: two threads write without a lock`() {
        let unguarded = Unguarded()
        let done = DispatchGroup()
        for number in 1...2 {
            DispatchQueue(label: "counter \(number)").async(group: done) {
                // Both are there, or one thread may do the work of two.
                unguarded.here.add(1, ordering: .relaxed)
                while unguarded.here.load(ordering: .relaxed) < 2 {}
                unguarded.count += number
            }
        }
        done.wait()
        #expect(unguarded.count > 0)
    }

    @Test(.enabled(if: isPlanted("overflow")))
    func `planted: a byte behind a block of memory is written`() {
        let block = UnsafeMutablePointer<UInt8>.allocate(capacity: 16)
        unsafe block.initialize(repeating: 0, count: 16)
        unsafe block[16] = 1
        #expect(unsafe block[0] == 0)
        unsafe block.deallocate()
    }

    @Test(.enabled(if: isPlanted("leak")))
    func `planted: an object is never let go`() {
        // Many: the stack may still show one to who looks for them.
        for _ in 0..<100 {
            let count = unsafe Unmanaged.passRetained(Unguarded()).takeUnretainedValue().count
            #expect(count == 0)
        }
    }
}
