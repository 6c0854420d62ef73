/// The on-time board: per carrier how many flights left and landed, and how punctual they were.
struct Board: Equatable, Sendable {
    struct Line: Equatable, Sendable {
        var departed = 0
        var arrived = 0
        var cancelled = 0
        /// Arrivals at most 15 minutes late, as the airlines count it.
        var onTime = 0
        var delaySum: Int64 = 0
        var delayCount = 0

        var onTimeShare: Double { arrived == 0 ? 0 : Double(onTime) / Double(arrived) }
        var meanDelay: Double { delayCount == 0 ? 0 : Double(delaySum) / Double(delayCount) }
    }

    private(set) var lines: [String: Line] = [:]
    private(set) var events = 0

    mutating func take(_ event: FlightEvent) {
        events += 1
        var line = lines[event.carrier] ?? Line()
        switch event.type {
        case .departed: line.departed += 1
        case .arrived:
            line.arrived += 1
            if let delay = event.delayMinutes {
                if delay <= 15 { line.onTime += 1 }
                line.delaySum += delay
                line.delayCount += 1
            }
        case .cancelled: line.cancelled += 1
        }
        lines[event.carrier] = line
    }

    /// One text line per carrier, busiest first.
    func text(_ names: [String: String]) -> [String] {
        var rows = [
            Self.row(["CARRIER", "DEPARTED", "ARRIVED", "CANCELLED", "ON TIME", "MEAN DELAY"])
        ]
        for (code, line) in lines.sorted(by: {
            ($1.value.departed, $0.key) < ($0.value.departed, $1.key)
        }) {
            let delay = (line.meanDelay * 10).rounded() / 10
            rows.append(
                Self.row([
                    "\(code) \(names[code] ?? "")", "\(line.departed)", "\(line.arrived)",
                    "\(line.cancelled)", "\(Int((line.onTimeShare * 100).rounded())) %",
                    "\(delay) min",
                ]))
        }
        return rows
    }

    /// A line for logs that are no terminal.
    var summary: String {
        let total = lines.values.reduce(into: Line()) { sum, line in
            sum.departed += line.departed
            sum.arrived += line.arrived
            sum.cancelled += line.cancelled
            sum.onTime += line.onTime
        }
        return
            "\(events) event\(events == 1 ? "" : "s"): \(total.departed) departed, \(total.arrived) arrived, \(total.cancelled) cancelled, \(Int((total.onTimeShare * 100).rounded())) % on time"
    }

    private static func row(_ cells: [String]) -> String {
        let widths = [32, 9, 9, 10, 8, 11]
        return zip(cells, widths).enumerated().map { index, pair in
            let (cell, width) = pair
            let padding = String(repeating: " ", count: max(0, width - cell.count))
            return index == 0 ? cell + padding : padding + cell
        }.joined()
    }
}
