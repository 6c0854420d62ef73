import Glibc

/// Where the demo talks: a live board on a terminal, plain lines otherwise.
struct Screen: Sendable {
    let isTerminal = isatty(1) == 1

    var interval: Duration { isTerminal ? .milliseconds(500) : .seconds(5) }

    func show(_ board: Board, _ names: [String: String]) {
        guard isTerminal else {
            write(board.summary)
            return
        }
        let lines = board.text(names)
        write(lines.joined(separator: "\n") + "\n\(board.summary)")
        // Back to the first line, so that the next board is drawn over this one.
        raw("\u{1B}[\(lines.count + 1)A")
    }

    func finish(_ board: Board, _ names: [String: String]) {
        write(board.text(names).joined(separator: "\n"))
        write(board.summary)
    }

    func note(_ text: String) {
        raw(isTerminal ? "\u{1B}[2K-- \(text)\n" : "-- \(text)\n")
    }

    func write(_ text: String) { raw(text + "\n") }

    private func raw(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(1, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}
