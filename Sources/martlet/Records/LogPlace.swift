import MartletClient
import MartletConfiguration
import MartletSystem

/// A place in a log as people name it.
enum LogPlace: Equatable, Sendable {
    case earliest
    case latest
    case offset(Int64)
    /// So many records before the end of each partition.
    case fromEnd(Int64)
    /// The first record with this event time or a later one, in milliseconds since 1970.
    case time(Int64)

    init(
        parsing word: String, _ flag: String, _ context: CommandContext,
        now: Int64 = SystemClock().wallMilliseconds()
    ) throws(CommandLineError) {
        guard let place = LogPlace(word, now: now) else {
            throw context.usage(
                "\(flag): '\(word)' is not earliest, latest, an offset, -N or @TIME "
                    + "(@2026-01-22T12:00Z, @1769083200000, @-15m)")
        }
        self = place
    }

    init?(_ word: String, now: Int64) {
        switch word {
        case "earliest", "beginning", "start": self = .earliest
        case "latest", "end": self = .latest
        case let word where word.hasPrefix("@"):
            guard let time = TimeText.parse(word.dropFirst(), now: now) else { return nil }
            self = .time(time)
        case let word:
            guard let number = Int64(word), number > .min else { return nil }
            // `-0` is the end, like `tail -n 0`.
            self = word.hasPrefix("-") ? .fromEnd(-number) : .offset(number)
        }
    }

    /// The offset of each partition that the place means.
    func offsets(in view: LogView, _ admin: AdminClient) async throws -> [Int32: Int64] {
        var result: [Int32: Int64] = [:]
        switch self {
        case .earliest: for place in view.partitions { result[place.partition] = place.earliest }
        case .latest: for place in view.partitions { result[place.partition] = place.latest }
        case .offset(let offset):
            for place in view.partitions { result[place.partition] = offset }
        case .fromEnd(let count):
            for place in view.partitions {
                result[place.partition] = max(place.earliest, place.latest &- count)
            }
        case .time(let time):
            let found = try await admin.listOffsets(
                view.topic, at: .time(time), partitions: view.partitions.map(\.partition))
            for place in found { result[place.partition] = place.offset }
        }
        return result
    }
}

/// Where the logs of a topic begin and end at one moment.
struct LogView: Sendable {
    struct Place: Sendable {
        let partition: Int32
        let earliest: Int64
        let latest: Int64
    }

    let topic: String
    let partitions: [Place]

    static func load(
        _ admin: AdminClient, _ topic: String, _ partitions: [Int32]
    ) async throws -> LogView {
        // The end first: what is deleted in between only moves the start.
        let latest = try await admin.listOffsets(topic, at: .latest, partitions: partitions)
        let earliest = try await admin.listOffsets(topic, at: .earliest, partitions: partitions)
        let starts = Dictionary(
            earliest.map { ($0.partition, $0.offset) }, uniquingKeysWith: { first, _ in first })
        return LogView(
            topic: topic,
            partitions: latest.sorted { $0.partition < $1.partition }.map { end in
                Place(
                    partition: end.partition, earliest: starts[end.partition] ?? end.offset,
                    latest: end.offset)
            })
    }
}
