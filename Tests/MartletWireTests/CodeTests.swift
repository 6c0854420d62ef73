import MartletWire
import Testing

@Suite struct CodeTests {
    @Test func `operations have distinct names and sane versions`() {
        let names = Set(Operation.allCases.map(\.name))
        #expect(names.count == Operation.allCases.count)
        for operation in Operation.allCases {
            #expect(operation.versions.lowerBound >= 1)
            #expect(operation.rawValue & FrameHeader.replyBit == 0)
        }
        #expect(Operation.allCases.filter(\.allowedBeforeHello) == [.hello])
    }

    @Test func `error codes have distinct names that lead back, and a text`() {
        for code in ErrorCode.allCases {
            #expect(ErrorCode(name: code.name) == code)
            #expect(code.text.hasSuffix("."))
        }
        #expect(Set(ErrorCode.allCases.map(\.name)).count == ErrorCode.allCases.count)
    }

    @Test func `a full disk is not written, a failed sync is unknown`() {
        #expect(ErrorCode.diskFull.outcome == .notWritten)
        #expect(ErrorCode.diskFull.isRetriable)
        #expect(ErrorCode.storageFailed.outcome == .unknown)
    }

    @Test func `no operation edits a stored record`() {
        // A2: the only operations that take records away say so in their name.
        let writers = Operation.allCases.filter { [.write, .delete].contains($0.access.action) }
        #expect(
            writers == [.deleteTopic, .produce, .deleteRecords, .initProducer, .deleteGroup])
    }
}
