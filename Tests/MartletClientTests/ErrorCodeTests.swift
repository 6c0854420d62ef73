import MartletWire
import Testing

@testable import MartletClient

/// What errors say of themselves, without looking at where they come from.
@Suite struct ErrorCodeTests {
    @Test func `what may succeed later without any change says so`() {
        let later: [MartletErrorCode] = [
            .connectionFailed, .connectionLost, .deadlineExceeded, .bufferFull, .diskFull,
            .loading, .shuttingDown,
        ]
        for code in later { #expect(MartletError(code, "").isRetriable, "\(code)") }
        let never: [MartletErrorCode] = [
            .closed, .invalidArgument, .unknownTopic, .messageTooLarge, .staleMemberEpoch,
        ]
        for code in never { #expect(!MartletError(code, "").isRetriable, "\(code)") }
    }

    @Test func `no name of the client is one of the broker's`() {
        let names = ErrorCode.allCases.map(\.name) + ClientErrorCode.allCases.map(\.name)
        #expect(Set(names).count == names.count)
        for code in ClientErrorCode.allCases { #expect(!code.text.isEmpty) }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a broker that is not there may be there later`() async throws {
        let broker = try ScriptedBroker()
        var configuration = ClientConfiguration.testing(broker)
        configuration.deadline = .milliseconds(50)
        broker.stop()
        try await Martlet.withClient(configuration) { client in
            let error = await #expect(throws: MartletError.self) { try await client.admin.ping() }
            #expect(error?.code == .connectionFailed && error?.isRetriable == true)
            #expect(error?.outcome == .notWritten)
        }
    }
}
