import MartletClient
import MartletJSON

/// The lines of `martlet group list`.
enum GroupListView {
    static func table(_ groups: [GroupListing]) -> Table {
        var table = Table([
            .left("NAME"), .left("KIND"), .left("STATE"), .right("MEMBERS"), .right("PARTITIONS"),
            .right("LAG"), .right("PARKED"), .right("DEAD"),
        ])
        for group in groups {
            table.add([
                group.name, kind(group), state(group), "\(group.members)", "\(group.partitions)",
                "\(group.lag)", "\(group.parked)", "\(group.dead)",
            ])
        }
        return table
    }

    static func json(_ group: GroupListing) -> JSONValue {
        [
            "name": .string(group.name), "kind": .string(kind(group)),
            "members": JSONValue(group.members), "partitions": JSONValue(group.partitions),
            "lag": .integer(group.lag), "isPaused": .boolean(group.isPaused),
            "pausedParts": JSONValue(group.pausedParts),
            "breaker": .string(group.breaker.rawValue), "parked": .integer(group.parked),
            "dead": .integer(group.dead),
        ]
    }

    private static func kind(_ group: GroupListing) -> String {
        group.kind == .stream ? "stream" : "queue"
    }

    /// In the words of `martlet top`; empty: it goes on everywhere.
    private static func state(_ group: GroupListing) -> String {
        var words: [String] = []
        switch group.breaker {
        case .closed: break
        case .halfOpen, .open: words.append("breaker \(group.breaker.rawValue)")
        }
        if group.isPaused {
            words.append(TopView.Trouble.paused.word)
        } else if group.pausedParts > 0 {
            words.append(TopView.Trouble.partlyPaused.word)
        }
        return words.joined(separator: ", ")
    }
}
