import MartletClient
import MartletJSON
import MartletTestSupport
import Synchronization
import Testing

/// The tool as people call it, against the broker of a client.
protocol ToolBench {
    var client: MartletClient { get }
}

extension ToolBench {
    /// To its end, which is to be `code`. `changes`: of the environment; nil: not in it.
    @discardableResult
    func run(
        _ words: [String], input: String = "", changes: [String: String?] = [:],
        expect code: Int32 = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> ChildProcess {
        var environment = BuiltPrograms.environment
        environment["MARTLET_SERVER"] = client.configuration.server
        for (name, value) in changes { environment[name] = value }
        let child = try ChildProcess(
            BuiltPrograms.folder + "/martlet", words, environment: environment)
        try child.write(input)
        child.closeInput()
        let ending = child.wait()
        #expect(
            ending == .exited(code), "\(words): \(child.errorOutput)",
            sourceLocation: sourceLocation)
        return child
    }

    /// What it says as JSON; `words` apart by spaces.
    func json(_ words: String, input: String = "") throws -> JSONValue {
        let words = words.split(separator: " ").map(String.init) + ["-o", "json"]
        return try JSONValue(parsing: try run(words, input: input).output)
    }
}

/// Which numbers, the values of records, came since the last look, and how often.
final class SeenNumbers: Sendable {
    private let state = Mutex<[Int: Int]>([:])

    /// How many have come with it.
    @discardableResult
    func add(_ record: ConsumedRecord) -> Int {
        let number = Int(record.valueString ?? "") ?? -1
        return state.withLock { seen in
            seen[number, default: 0] += 1
            return seen.values.reduce(0, +)
        }
    }

    var count: Int { state.withLock { $0.values.reduce(0, +) } }

    func take() -> [Int: Int] {
        state.withLock { seen in
            defer { seen = [:] }
            return seen
        }
    }
}
