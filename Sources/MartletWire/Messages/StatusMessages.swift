package struct StatusRequest: WireRequest {
    package typealias Reply = StatusReply
    package static let operation = Operation.status
    package static let purpose = "Asks how the broker is."

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct StatusReply: WireReply {
    package static let operation = Operation.status
    package static let purpose = "How the broker is, in figures."

    package var error = ErrorCode.none
    package var message = ""
    package var version = ""
    package var startedAt: Int64 = 0
    package var uptimeMilliseconds: Int64 = 0
    package var pid: Int32 = 0
    package var cleanStart = false
    package var writable = false
    package var reason = ""
    package var leaderEpoch: Int32 = 0
    package var topics: UInt32 = 0
    package var partitions: UInt32 = 0
    package var connections: UInt32 = 0
    package var recordsIn: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    package var diskTotal: Int64 = 0
    package var diskAvailable: Int64 = 0
    package var dataBytes: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("version", &version, max: 64, "of the broker")
        try c.int64("startedAt", &startedAt, "milliseconds since 1970 UTC")
        try c.int64("uptimeMilliseconds", &uptimeMilliseconds, "by the monotonic clock")
        try c.int32("pid", &pid, "process id")
        try c.bool("cleanStart", &cleanStart, "the run before was shut down in order")
        try c.bool("writable", &writable, "producers are served")
        try c.string("reason", &reason, max: WireLimits.textBytesMax, "why not; empty if writable")
        try c.int32("leaderEpoch", &leaderEpoch, "grows with each start that was not clean")
        try c.uint32("topics", &topics, "count")
        try c.uint32("partitions", &partitions, "count")
        try c.uint32("connections", &connections, "open now")
        try c.uint64("recordsIn", &recordsIn, "appended since the start")
        try c.uint64("bytesIn", &bytesIn, "of batches appended since the start")
        try c.uint64("bytesOut", &bytesOut, "of batches sent since the start")
        try c.int64("diskTotal", &diskTotal, "bytes of the file system with the data")
        try c.int64("diskAvailable", &diskAvailable, "bytes that are free on it")
        try c.int64("dataBytes", &dataBytes, "bytes of all logs")
    }
}

package struct DoctorRequest: WireRequest {
    package typealias Reply = DoctorReply
    package static let operation = Operation.doctor
    package static let purpose = "Asks what recovery did, what is unhealthy, and what to do."

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

/// One thing that recovery found or mended at the last start.
package struct RecoveryEvent: WireItem {
    package static let bytesMin = 34
    package var topic = ""
    package var partition: Int32 = 0
    package var kind = ""
    package var from: Int64 = 0
    package var to: Int64 = 0
    package var bytes: Int64 = 0
    package var detail = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("topic", &topic, max: WireLimits.topicNameBytesMax, "name, or id when unread")
        try c.int32("partition", &partition, "-1 for the whole topic")
        try c.string("kind", &kind, max: 64, "stable word, such as `torn-tail`")
        try c.int64("from", &from, "first offset concerned, or -1")
        try c.int64("to", &to, "the offset behind the last, or -1")
        try c.int64("bytes", &bytes, "cut, quarantined or rebuilt")
        try c.string("detail", &detail, max: WireLimits.textBytesMax, "for people")
    }
}

/// One judgement of the doctor.
package struct DoctorFinding: WireItem {
    package static let bytesMin = 7
    package var severity: UInt8 = 0
    package var code = ""
    package var text = ""
    package var advice = ""

    package init() {}

    package init(severity: UInt8, code: String, text: String, advice: String = "") {
        self.severity = severity
        self.code = code
        self.text = text
        self.advice = advice
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("severity", &severity, "0 fine, 1 warning, 2 critical")
        try c.string("code", &code, max: 64, "stable word")
        try c.string("text", &text, max: WireLimits.textBytesMax, "what was found")
        try c.string("advice", &advice, max: WireLimits.textBytesMax, "what to do")
    }
}

/// One figure of the doctor.
package struct DoctorFigure: WireItem {
    package static let bytesMin = 12
    package var name = ""
    package var value: Int64 = 0
    package var unit = ""

    package init() {}

    package init(_ name: String, _ value: Int64, unit: String = "") {
        self.name = name
        self.value = value
        self.unit = unit
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("name", &name, max: 128, "stable word")
        try c.int64("value", &value, "in `unit`")
        try c.string("unit", &unit, max: 32, "such as `bytes`; may be empty")
    }
}

package struct DoctorReply: WireReply {
    package static let operation = Operation.doctor
    package static let purpose = "The doctor's report."

    package var error = ErrorCode.none
    package var message = ""
    package var recovery: [RecoveryEvent] = []
    package var findings: [DoctorFinding] = []
    package var figures: [DoctorFigure] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("recovery", &recovery, max: WireLimits.eventsMax, "at the last start")
        try c.array("findings", &findings, max: WireLimits.namesMax, "worst first")
        try c.array("figures", &figures, max: WireLimits.namesMax, "measured now")
    }
}
