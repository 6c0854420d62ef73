import MartletJSON
import MartletSystem

/// The file of `--ready-file`: tells whoever started the broker where it serves.
///
///     {"listen":"127.0.0.1:40123","admin":"127.0.0.1:40124","pid":123}
struct ReadyFile {
    let path: String
    private let files = PosixFileSystem()

    init(path: String) {
        self.path = path
    }

    /// Removes what an earlier run left, so that nobody takes its addresses for ours.
    func clear() throws(SystemError) {
        guard try files.status(path) != nil else { return }
        try files.removeFile(path)
    }

    /// Appears whole or not at all.
    func write(listen: String, admin: String?) throws(SystemError) {
        let content: JSONValue = [
            "listen": .string(listen),
            "admin": admin.map { .string($0) } ?? .null,
            "pid": .integer(Int64(CurrentProcess.id)),
        ]
        let temporary = "\(path).tmp-\(CurrentProcess.id)"
        let file = try files.open(temporary, .createOrOpen)
        let bytes = JSONWriter.bytes(content) + [0x0A]
        try file.truncate(to: 0)
        try unsafe bytes.span.withUnsafeBytes { bytes throws(SystemError) in
            try unsafe file.write(bytes, at: 0)
        }
        try file.close()
        try files.rename(temporary, to: path)
    }
}
