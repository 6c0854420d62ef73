import FoundationEssentials

/// One row of the file.
struct Flight: Sendable {
    let row: Int
    let carrier: String
    let number: String
    let tailNumber: String?
    let origin: String
    let destination: String
    /// Scheduled departure, ms since 1970 (UTC).
    let scheduledDeparture: Int64
    let departureDelayMinutes: Int64?
    let arrivalDelayMinutes: Int64?
    let hasArrived: Bool
    /// Minutes from departure to arrival.
    let minutesUnderWay: Int64

    /// - Throws: `FlightError` with the line and what is wrong with it.
    init(line: Substring, row: Int) throws {
        let fields = line.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count == 19 else {
            throw FlightError("line \(row + 1): 19 columns expected, \(fields.count) found")
        }
        func number(_ index: Int) -> Int64? { Int64(fields[index]) }
        guard let hour = try? Date(String(fields[18]), strategy: .iso8601), let minute = number(17)
        else { throw FlightError("line \(row + 1): time_hour or minute cannot be read") }
        self.row = row
        carrier = String(fields[9])
        self.number = String(fields[10])
        tailNumber = fields[11] == "NA" || fields[11].isEmpty ? nil : String(fields[11])
        origin = String(fields[12])
        destination = String(fields[13])
        scheduledDeparture = Int64(hour.timeIntervalSince1970) * 1000 + minute * 60_000
        departureDelayMinutes = number(5)
        arrivalDelayMinutes = number(8)
        hasArrived = fields[6] != "NA"
        minutesUnderWay = number(14) ?? Self.clockMinutes(from: number(3), to: number(6))
    }

    /// Minutes between two local clock times such as 2358 and 14, for flights without an air time.
    private static func clockMinutes(from: Int64?, to: Int64?) -> Int64 {
        guard let from, let to else { return 0 }
        let minutes = (to / 100 * 60 + to % 100) - (from / 100 * 60 + from % 100)
        return minutes < 0 ? minutes + 24 * 60 : minutes
    }
}

struct FlightError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A fact about a flight, as it travels through the broker.
struct FlightEvent: Codable, Sendable, Equatable {
    enum Kind: String, Codable, CaseIterable, Sendable {
        case departed = "flight.departed.v1"
        case arrived = "flight.arrived.v1"
        case cancelled = "flight.cancelled.v1"

        /// In the file that lies beside this one, as its README.md says.
        var countInJanuary2013: Int {
            switch self {
            case .departed: 26_483
            case .arrived: 26_468
            case .cancelled: 521
            }
        }
    }

    let type: Kind
    /// Row of the input file: with `type` it names the event.
    let row: Int
    let carrier: String
    let flight: String
    let tailNumber: String?
    let origin: String
    let destination: String
    let delayMinutes: Int64?
    /// Event time, ms since 1970.
    let time: Int64

    /// What happened on one flight, in order.
    static func events(of flight: Flight) -> [FlightEvent] {
        guard let delay = flight.departureDelayMinutes else {
            return [FlightEvent(.cancelled, flight, delay: nil, at: flight.scheduledDeparture)]
        }
        let departure = flight.scheduledDeparture + delay * 60_000
        var events = [FlightEvent(.departed, flight, delay: delay, at: departure)]
        if flight.hasArrived {
            let arrival = departure + flight.minutesUnderWay * 60_000
            events.append(
                FlightEvent(.arrived, flight, delay: flight.arrivalDelayMinutes, at: arrival))
        }
        return events
    }

    private init(_ type: Kind, _ flight: Flight, delay: Int64?, at time: Int64) {
        self.type = type
        row = flight.row
        carrier = flight.carrier
        self.flight = flight.number
        tailNumber = flight.tailNumber
        origin = flight.origin
        destination = flight.destination
        delayMinutes = delay
        self.time = time
    }

    /// The name that an event has exactly once.
    var id: String { "\(type.rawValue)/\(row)" }
}

/// Reads the file that `zcat` pipes in: a header line, then a flight a line.
enum FlightFile {
    /// All events of the file in order of event time; equal times keep the order of the file.
    static func events(_ text: String) throws -> [FlightEvent] {
        var events: [FlightEvent] = []
        var row = 0
        for line in text.split(separator: "\n").dropFirst() {
            row += 1
            events += FlightEvent.events(of: try Flight(line: line, row: row))
        }
        return events.enumerated()
            .sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
            .map(\.element)
    }
}
