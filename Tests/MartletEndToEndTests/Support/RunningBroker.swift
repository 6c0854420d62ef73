import Glibc
import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// A `martletd` on its own folder and free ports, killed when the test is over.
final class RunningBroker: Sendable {
    let child: ChildProcess
    let listen: SocketAddress
    let admin: SocketAddress
    let readyText: String

    /// - Parameters:
    ///   - limits: options of `prlimit`, such as `--nofile=64`.
    ///   - wrapper: a program with arguments that becomes the one that it is given.
    convenience init(
        in folder: TemporaryDirectory, _ flags: [String] = [], limits: [String] = [],
        wrapper: [String] = [], environment: [String: String] = [:]
    ) throws {
        let child = try Self.launch(
            in: folder, flags, limits: limits, wrapper: wrapper, environment: environment)
        try self.init(serving: child, in: folder)
    }

    /// Starts the program and does not wait for what becomes of it.
    static func launch(
        in folder: TemporaryDirectory, _ flags: [String] = [], limits: [String] = [],
        wrapper: [String] = [], environment: [String: String] = [:]
    ) throws -> ChildProcess {
        let ready = folder.path("ready")
        let own = [
            "--data", folder.path("data"), "--listen=127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--ready-file=\(ready)",
        ]
        let variables = Programs.environment.merging(environment) { $1 }
        let command =
            wrapper + (limits.isEmpty ? [] : [Programs.limits] + limits) + [Programs.daemon] + own
            + flags
        return try ChildProcess(
            command[0], Array(command.dropFirst()), environment: variables)
    }

    /// A broker that was launched; waits until it serves.
    init(serving child: ChildProcess, in folder: TemporaryDirectory) throws {
        self.child = child
        let serves = child.waitForErrorOutput("SERVING")
        try #require(serves, "it does not serve: \(child.errorOutput)")
        readyText = try Self.contents(of: folder.path("ready"))
        let value = try JSONValue(parsing: readyText)
        listen = try SocketAddress(parsing: try #require(value["listen"]?.stringValue))
        admin = try SocketAddress(parsing: try #require(value["admin"]?.stringValue))
    }

    var log: String { child.errorOutput }

    /// Waits until the log says it; a missing line fails the test.
    func expectLog(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(
            child.waitForErrorOutput(text), "the log does not say \(text): \(log)",
            sourceLocation: sourceLocation)
    }

    /// Sends a signal and waits for the end.
    func end(_ signal: CInt = SIGTERM) -> ChildProcess.Ending? {
        child.kill(signal)
        return child.wait()
    }

    func get(_ path: String) throws -> HTTPAnswer {
        try HTTPAnswer(from: admin, path: path)
    }

    /// The value of a metric without labels.
    func metric(_ name: String) throws -> Double {
        let lines = try get("/metrics").body.split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix("\(name) ") }, "no metric \(name)")
        return try #require(Double(line.dropFirst(name.count + 1)))
    }

    static func contents(of path: String) throws -> String {
        let file = try PosixFileSystem().open(path, .readOnly)
        // Files of /proc have no size.
        var bytes = [UInt8](repeating: 0, count: max(Int(try file.size()), 16 << 10))
        let count = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe file.read(into: buffer, at: 0)
        }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    static func write(_ text: String, to path: String) throws {
        let file = try PosixFileSystem().open(path, .createOrOpen)
        try file.truncate(to: 0)
        try unsafe Array(text.utf8).span.withUnsafeBytes { bytes throws(SystemError) in
            try unsafe file.write(bytes, at: 0)
        }
        try file.close()
    }
}
