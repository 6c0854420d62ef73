import Glibc
import MartletJSON
import MartletTestSupport

/// The processes of a history run, and what is done to them.
final class HistoryCrew {
    struct Place: Hashable {
        let kind: HistoryWorker.Kind
        let number: Int
    }

    private let program: String
    private let folder: String
    private let environment: [String: String]
    private let history: HistoryWriter
    private var children: [Place: ChildProcess] = [:]
    private var stopped: [Place: Int64] = [:]
    /// Told to end in order.
    private var leaving: [ChildProcess] = []
    private(set) var files: [String] = []
    var server = ""

    init(
        program: String, folder: String, environment: [String: String], _ history: HistoryWriter
    ) {
        self.program = program
        self.folder = folder
        self.environment = environment
        self.history = history
    }

    /// Members that run and are not stopped, in an order that does not depend on the run.
    var members: [Place] {
        children.keys.filter { $0.kind != .producer && stopped[$0] == nil }
            .sorted { ($0.kind.rawValue, $0.number) < ($1.kind.rawValue, $1.number) }
    }

    var producers: [Place] {
        children.keys.filter { $0.kind == .producer }.sorted { $0.number < $1.number }
    }

    func start(_ place: Place) throws {
        let file = "\(folder)/\(place.kind.rawValue)-\(place.number)-\(files.count).jsonl"
        files.append(file)
        children[place] = try ChildProcess(
            program,
            ["history-worker", place.kind.rawValue, server, file, "\(place.number)"],
            environment: environment)
    }

    func kill(_ place: Place) throws {
        guard let child = children.removeValue(forKey: place) else { return }
        stopped[place] = nil
        note(place.kind == .producer ? "kill-producer" : "kill", place)
        child.kill()
        guard child.wait(seconds: 60) != nil else { throw VerifyError("a member did not die") }
    }

    /// Longer than its session lasts.
    func stop(_ place: Place, until time: Int64) {
        note("stop", place)
        children[place]?.kill(SIGSTOP)
        stopped[place] = time
    }

    func wake(at now: Int64) {
        for (place, time) in stopped where time <= now {
            note("cont", place)
            children[place]?.kill(SIGCONT)
            stopped[place] = nil
        }
    }

    /// Tells it to end in order, and does not wait for that.
    func leave(_ place: Place) {
        guard let child = children.removeValue(forKey: place) else { return }
        if stopped.removeValue(forKey: place) != nil { child.kill(SIGCONT) }
        note("leave", place)
        child.closeInput()
        leaving.append(child)
    }

    /// Members that ended by themselves begin anew; the words of each are kept.
    func revive() throws {
        for (place, child) in children where child.ending != nil {
            noteEnd(
                "\(place.kind.rawValue) \(place.number): \(child.output.suffix(500))\(child.errorOutput.suffix(500))"
            )
            children[place] = nil
            try start(place)
        }
    }

    /// All of a kind end in order; who does not is killed.
    func end(_ kinds: [HistoryWorker.Kind], seconds: Int) -> Bool {
        for place in children.keys where kinds.contains(place.kind) { leave(place) }
        var isInOrder = true
        for child in leaving where child.wait(seconds: seconds) != .exited(0) {
            isInOrder = false
            noteEnd("\(child.id) did not end in order: \(child.output.suffix(500))")
            child.kill()
        }
        leaving = []
        return isInOrder
    }

    private func noteEnd(_ words: String) {
        history.write(.ended, nil, ["f": .string(words)])
    }

    private func note(_ what: String, _ place: Place) {
        history.write(.nemesis, nil, ["f": .string(what), "m": .string("\(place)")])
    }
}
