import MartletSystem
import MartletTestSupport
import Testing

/// A client in another language that was written from Protocol.md alone, against a real broker.
@Suite struct StrangerTests {
    private static let python = "/usr/bin/python3"
    private static var hasPython: Bool {
        (try? PosixFileSystem().status(python)) != nil
    }

    @Test func `a client written from Protocol.md alone understands the broker`() throws {
        guard Self.hasPython else {
            try StandardStream.output.write("SKIPPED StrangerTests: there is no \(Self.python)\n")
            return
        }
        let harness = try BrokerHarness()
        let script = Repository.root + "/examples/protocol/client.py"
        // Twice: the second one finds the topic and its records there.
        for _ in 0..<2 {
            let client = try ChildProcess(
                Self.python, [script, "127.0.0.1:\(harness.port)", "from-python"])
            #expect(client.wait() == .exited(0), "\(client.output)\(client.errorOutput)")
            #expect(client.output.hasSuffix("ok\n"))
        }
        try harness.stop()
    }
}
