import Glibc
import MartletTestSupport
import Testing

@testable import MartletSystem

@Suite struct SystemCallTests {
    @Test func `an interrupted call is repeated`() throws {
        var results: [(CInt, CInt)] = [(-1, EINTR), (-1, EINTR), (5, 0)]
        let result = try SystemCall.check("call") {
            let (value, code) = results.removeFirst()
            errno = code
            return value
        }
        #expect(result == 5)
        #expect(results.isEmpty)
    }

    @Test func `a failure keeps its errno, call and subject`() {
        let error = failure {
            try SystemCall.check("open", "/x") { () -> CInt in
                errno = EMFILE
                return -1
            }
        }
        #expect(error == SystemError(call: "open", code: EMFILE, subject: "/x"))
        #expect(error?.isTooManyFiles == true)
        #expect("\(SystemError(call: "open", code: ENOENT, subject: "/x"))".hasPrefix("open /x: "))
    }

    @Test(arguments: 1...20)
    func `short transfers are continued, in order`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var moved: [Range<Int>] = []
        let count = random.within(1...5000)
        let total = try SystemCall.transferAll(count) { done in
            let step = random.within(1...(count - done))
            moved.append(done..<(done + step))
            return step
        }
        #expect(total == count)
        #expect(moved.first?.lowerBound == 0)
        #expect(moved.last?.upperBound == count)
        #expect(zip(moved, moved.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound })
    }

    @Test func `a transfer ends where nothing moves, and passes an error on`() throws {
        #expect(try SystemCall.transferAll(10) { done in done < 4 ? 2 : 0 } == 4)
        let error = failure {
            _ = try SystemCall.transferAll(10) { done throws(SystemError) in
                if done == 4 { throw SystemError(call: "pwrite", code: ENOSPC) }
                return 2
            }
        }
        #expect(error?.isNoSpace == true)
    }

    @Test func `a descriptor is closed once, whoever tries`() throws {
        for _ in 0..<200 {
            let number = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
            let descriptor = Descriptor(number)
            let closed = Latch(4)
            let winners = Counter()
            for _ in 0..<4 {
                SerialQueue(label: "closer").execute {
                    let error = failure {
                        if try descriptor.close("null") { winners.add() }
                    }
                    #expect(error == nil)
                    closed.arrive()
                }
            }
            #expect(closed.wait())
            #expect(winners.value == 1)
            #expect(descriptor.value == -1)
        }
    }
}
