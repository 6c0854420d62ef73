import Glibc
import MartletJSON
import MartletSystem
import MartletTestSupport

/// A real `martletd` that can be taken down and brought back on the same port and data.
final class BrokerProcess {
    private let bin: String
    private let data: String
    private let readyFile: String
    private var child: ChildProcess?
    private(set) var listen = "127.0.0.1:0"
    private var admin = "127.0.0.1:0"
    /// A bug that it has on purpose.
    var plant: String?

    init(bin: String, data: String, work: String) {
        self.bin = bin
        self.data = data
        readyFile = "\(work)/ready"
    }

    /// Starts it and returns when it serves.
    func start() throws {
        _ = unsafe unlink(readyFile)
        // Two, also on a small machine: so that connections of different queues meet in one log.
        var environment = CurrentProcess.environment
        environment["MARTLET_STORAGE_IO_QUEUES"] = "2"
        environment["MARTLET_PLANT"] = plant
        let child = try ChildProcess(
            "\(bin)/martletd",
            ["--data", data, "--listen", listen, "--admin", admin, "--ready-file", readyFile],
            environment: environment)
        self.child = child
        for _ in 0..<6_000 {
            if let text = readReady() {
                let ready = try JSONValue(parsing: Array(text.utf8))
                listen = ready["listen"]?.stringValue ?? listen
                admin = ready["admin"]?.stringValue ?? admin
                return
            }
            if child.ending != nil { break }
            pause(milliseconds: 10)
        }
        throw VerifyError("martletd did not start: \(child.errorOutput.suffix(2_000))")
    }

    /// SIGKILL, and its end.
    func kill() throws {
        child?.kill(SIGKILL)
        guard child?.wait(seconds: 60) != nil else { throw VerifyError("martletd did not die") }
        child = nil
    }

    /// SIGTERM, and its end.
    func terminate() throws {
        child?.kill(SIGTERM)
        guard let ending = child?.wait(seconds: 60) else {
            throw VerifyError("martletd did not stop")
        }
        guard ending == .exited(0) else { throw VerifyError("martletd ended with \(ending)") }
        child = nil
    }

    /// 0 while it is down.
    var processID: pid_t { child?.id ?? 0 }
    var hasEnded: Bool { child?.ending != nil }
    var lastWords: String {
        guard let child else { return "" }
        return "\(child.ending.map { "\($0)" } ?? "running"): \(child.errorOutput.suffix(2_000))"
    }

    private func readReady() -> String? {
        let descriptor = unsafe open(readyFile, O_RDONLY)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(descriptor, $0.baseAddress, $0.count)
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
}

/// The nemesis lives in real time: it waits for moments, not for results.
func pause(milliseconds: Int) {
    var time = timespec(
        tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
    _ = unsafe nanosleep(&time, nil)
}
