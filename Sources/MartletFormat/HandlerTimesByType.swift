/// How long handlers ran, by the type of event that they were called with. Types come from strangers:
/// only so many are told apart, and the rest is one line.
package struct HandlerTimesByType: Equatable, Sendable {
    /// The header of a record that names its type.
    package static let header = "type"
    /// Lines beside the one for the rest.
    package static let typesMax = 20
    package static let typeBytesMax = 100
    /// What is too much, or too long a name. A type of this name is told with it.
    package static let other = "other"

    /// By type; empty: the record named none.
    package private(set) var lines: [String: HandlerTimes] = [:]

    package init() {}

    package var isEmpty: Bool { lines.isEmpty }

    /// Of all types.
    package var total: HandlerTimes {
        var total = HandlerTimes()
        for times in lines.values { total.add(times) }
        return total
    }

    package mutating func add(nanoseconds: Int64, type: String) {
        lines[line(of: type), default: HandlerTimes()].add(nanoseconds: nanoseconds)
    }

    package mutating func add(_ times: HandlerTimes, type: String) {
        if times.isEmpty { return }
        lines[line(of: type), default: HandlerTimes()].add(times)
    }

    package mutating func add(_ more: HandlerTimesByType) {
        for (type, times) in more.lines.sorted(by: { $0.key < $1.key }) { add(times, type: type) }
    }

    private func line(of type: String) -> String {
        if lines[type] != nil { return type }
        // The line for the rest takes nobody's place: what was told is read as it was.
        let named = lines.count - (lines[Self.other] == nil ? 0 : 1)
        return type.utf8.count <= Self.typeBytesMax && named < Self.typesMax ? type : Self.other
    }
}
