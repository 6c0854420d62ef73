import MartletClient
import MartletJSON

/// A view for programs. What is not known is null.
enum TopJSON {
    static func value(_ view: TopView, _ server: String) -> JSONValue {
        [
            "time": .integer(view.look.time), "seconds": number(view.seconds),
            "broker": broker(view, server), "groups": .array(view.groups.map(group)),
            "groupsLeftOut": JSONValue(view.look.groupsLeftOut),
            "topics": .array(view.topics.map(topic)),
        ]
    }

    private static func broker(_ view: TopView, _ server: String) -> JSONValue {
        let status = view.look.status
        return [
            "server": .string(server),
            "uptimeMilliseconds": .integer(status.uptime.inMilliseconds),
            "isWritable": .boolean(status.isWritable), "reason": .string(status.reason),
            "connections": JSONValue(status.connections),
            "recordsIn": JSONValue(status.recordsIn),
            "recordsInPerSecond": number(view.rates.recordsIn),
            "bytesInPerSecond": number(view.rates.bytesIn),
            "bytesOutPerSecond": number(view.rates.bytesOut),
            "diskAvailable": .integer(status.diskAvailable),
        ]
    }

    private static func group(_ group: TopView.Group) -> JSONValue {
        let figures = group.figures
        return [
            "name": .string(figures.name), "kind": .string(figures.isQueue ? "queue" : "stream"),
            "trouble": group.trouble.map { .string($0.word) } ?? .null,
            "lag": .integer(figures.lag), "lagPerSecond": number(group.lagRate),
            "donePerSecond": number(group.doneRate),
            "lagSeconds": number(Double(figures.lagTime) / 1_000),
            "headroomSeconds": number(figures.headroom.map { Double($0) / 1_000 }),
            "headroomBytes": figures.headroomBytes.map { .integer($0) } ?? .null,
            "members": JSONValue(figures.members), "isPaused": .boolean(figures.isPaused),
            "pausedParts": .array(figures.pausedParts.map { .string($0) }),
            "inFlight": .integer(figures.inFlight), "delayed": .integer(figures.delayed),
            "parked": .integer(figures.parked),
            "dead": .integer(figures.dead), "breaker": .string(figures.breaker.rawValue),
            "handlerTime": figures.handlerTime.map { HandlerTimeView.json($0) } ?? .null,
            "handlerTimeByType": HandlerTimeView.json(figures.handlers),
        ]
    }

    private static func topic(_ topic: TopView.Topic) -> JSONValue {
        [
            "name": .string(topic.name), "partitions": JSONValue(topic.partitions),
            "inPerSecond": number(topic.rateIn), "outPerSecond": number(topic.rateOut),
            "bytes": .integer(topic.bytes),
        ]
    }

    private static func number(_ value: Double?) -> JSONValue { value.map { .double($0) } ?? .null }
}
