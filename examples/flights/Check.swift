/// Compares what came out with the input file: nothing lost, nothing twice, order kept per key.
struct Check {
    let expected: [FlightEvent]
    let result: Viewer.Result

    struct Verdict {
        var lost: [String]
        var twice: [String]
        var unknown: [String]
        var disordered: [String]
        var holds: Bool { lost.isEmpty && twice.isEmpty && unknown.isEmpty && disordered.isEmpty }
    }

    func run() -> Verdict {
        let ids = Set(expected.map(\.id))
        var order: [String: [String]] = [:]
        for event in expected {
            if let key = event.tailNumber { order[key, default: []].append(event.id) }
        }
        return Verdict(
            lost: ids.filter { result.seen[$0] == nil }.sorted(),
            twice: result.seen.filter { $0.value > 1 }.map(\.key).sorted(),
            unknown: result.seen.keys.filter { !ids.contains($0) }.sorted(),
            disordered: order.filter { result.perKey[$0.key] != $0.value }.map(\.key).sorted())
    }
}

extension Check.Verdict {
    /// The verdict in words, worst first.
    func lines(of total: Int) -> [String] {
        func say(_ what: String, _ list: [String]) -> String {
            list.isEmpty ? "\(what): none" : "\(what): \(list.count), for example \(list.prefix(3))"
        }
        return [
            say("lost", lost), say("twice", twice), say("never sent", unknown),
            say("keys out of order", disordered),
            holds
                ? "CHECK PASSED: all \(total) events are there, each once, in order per key"
                : "CHECK FAILED",
        ]
    }
}
