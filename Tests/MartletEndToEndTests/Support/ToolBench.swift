import MartletSystem
import MartletTestSupport
import Testing

/// The tool as people call it, with a broker of its own.
struct ToolBench {
    let folder: TemporaryDirectory
    let broker: RunningBroker

    init(_ name: String) throws {
        folder = try TemporaryDirectory(name)
        broker = try RunningBroker(in: folder)
    }

    /// Another broker on the folder of one that was ended.
    init(_ ended: ToolBench) throws {
        folder = ended.folder
        broker = try RunningBroker(in: folder)
    }

    func start(_ words: [String], program: String = Programs.tool) throws -> ChildProcess {
        var environment = Programs.environment
        environment["MARTLET_SERVER"] = broker.listen.description
        environment["MARTLET"] = Programs.tool
        return try ChildProcess(program, words, environment: environment)
    }

    /// To its end, which is to be `code`.
    @discardableResult
    func run(
        _ words: String..., input: String = "", expect code: Int32 = 0,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> (output: String, errors: String) {
        let child = try start(words)
        try child.write(input)
        child.closeInput()
        let ending = child.wait()
        #expect(
            ending == .exited(code), "\(words): \(child.errorOutput)",
            sourceLocation: sourceLocation)
        return (child.output, child.errorOutput)
    }
}
