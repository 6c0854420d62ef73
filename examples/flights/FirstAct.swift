import FoundationEssentials
import Glibc
import MartletClient

/// Sends all events at a pace, reads them along, and checks that each came once and in order.
struct FirstAct {
    let topic: String
    let seconds: Double
    let csv: String
    let airlines: String
    let halfFile: String

    /// `TOPIC SECONDS CSV AIRLINES HALF-FILE`.
    init(_ arguments: [String]) throws {
        guard let seconds = Double(arguments[1]), seconds > 0 else {
            throw FlightError("'\(arguments[1])' is not a number of seconds")
        }
        self.seconds = seconds
        topic = arguments[0]
        csv = arguments[2]
        airlines = arguments[3]
        halfFile = arguments[4]
    }

    func run() async throws -> Bool {
        let events = try FlightFile.events(String(contentsOfFile: csv, encoding: .utf8))
        let names = try carriers(String(contentsOfFile: airlines, encoding: .utf8))
        let screen = Screen()
        guard count(events, screen) else { return false }
        let (result, streamed) = try await Martlet.withClient { client in
            let viewer = Viewer(
                client: client, topic: topic, expected: events.count, screen: screen, names: names)
            let streamer = Streamer(client: client, topic: topic, duration: .seconds(seconds)) {
                announce(halfFile)
            }
            async let seen = viewer.run()
            let streamed = try await streamer.run(events)
            return (try await seen, streamed)
        }
        return report(events, result, streamed, screen)
    }

    /// Writes a line into the pipe that the script waits on.
    private func announce(_ path: String) {
        let descriptor = unsafe open(path, O_WRONLY)
        guard descriptor >= 0 else { return }
        let line = Array("half\n".utf8)
        _ = unsafe line.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    /// Whether the file is the one of README.md, which the demo's check rests on.
    private func count(_ events: [FlightEvent], _ screen: Screen) -> Bool {
        let kinds = FlightEvent.Kind.allCases
        let counts = kinds.map { kind in events.count { $0.type == kind } }
        let text = zip(counts, kinds).map { "\($0) \($1.rawValue)" }.joined(separator: ", ")
        screen.note("\(events.count) events: \(text)")
        if counts == kinds.map(\.countInJanuary2013) { return true }
        screen.write("this is not the file that examples/flights/README.md describes")
        return false
    }

    private func carriers(_ text: String) -> [String: String] {
        var names: [String: String] = [:]
        for line in text.split(separator: "\n").dropFirst() {
            let parts = line.split(separator: ",", maxSplits: 1)
            if parts.count == 2 { names[String(parts[0])] = String(parts[1]) }
        }
        return names
    }

    private func report(
        _ events: [FlightEvent], _ result: Viewer.Result, _ streamed: Streamer.Result,
        _ screen: Screen
    ) -> Bool {
        let rate = Int((Double(events.count) / streamed.seconds).rounded())
        let tenths = (streamed.seconds * 10).rounded() / 10
        screen.note(
            "\(events.count) events in \(tenths) s, \(rate) a second, \(result.bytes) bytes of values"
        )
        for failure in streamed.failures {
            screen.note("not delivered: \(failure.recordCount) records: \(failure.error)")
        }
        let verdict = Check(expected: events, result: result).run()
        for line in verdict.lines(of: events.count) { screen.write(line) }
        return verdict.holds && streamed.failures.isEmpty
    }
}
