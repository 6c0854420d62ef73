package import MartletFormat

/// The first frame of every connection: who speaks, and which protocol versions it knows.
package struct HelloRequest: WireRequest {
    package typealias Reply = HelloReply
    package static let operation = Operation.hello
    package static let purpose = "Opens a connection: agrees on a version and names the client."
    /// "MRTL": tells a Martlet client from anything else that found the port.
    package static let magic: UInt32 = 0x4D52_544C

    package var magic = Self.magic
    package var versionMin: UInt16 = 1
    package var versionMax: UInt16 = 1
    package var features: UInt64 = 0
    package var clientName = ""
    package var clientVersion = ""
    package var mechanism = ""
    package var credentials: [UInt8] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint32("magic", &magic, "0x4D52544C, \"MRTL\"")
        try c.uint16("versionMin", &versionMin, "oldest protocol version the client speaks")
        try c.uint16("versionMax", &versionMax, "newest protocol version the client speaks")
        try c.uint64("features", &features, "feature bits the client understands; none is defined")
        try c.string("clientName", &clientName, max: 255, "for logs and metrics")
        try c.string("clientVersion", &clientVersion, max: 64, "for logs")
        try c.string("mechanism", &mechanism, max: 32, "of authentication; empty: anonymous")
        try c.bytes("credentials", &credentials, max: 4_096, "what the mechanism says")
    }
}

/// One operation that a broker offers.
package struct OperationVersions: WireItem {
    package static let bytesMin = 6
    package var operation: UInt16 = 0
    package var versionMin: UInt16 = 0
    package var versionMax: UInt16 = 0

    package init() {}

    package init(_ operation: Operation) {
        self.operation = operation.rawValue
        versionMin = operation.versions.lowerBound
        versionMax = operation.versions.upperBound
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint16("operation", &operation, "number of the operation")
        try c.uint16("versionMin", &versionMin, "oldest version of it that the broker speaks")
        try c.uint16("versionMax", &versionMax, "newest version of it that the broker speaks")
    }
}

package struct HelloReply: WireReply {
    package static let operation = Operation.hello
    package static let purpose = "What was agreed, and what this connection may do."

    package var error = ErrorCode.none
    package var message = ""
    package var version: UInt16 = 0
    package var features: UInt64 = 0
    package var brokerVersion = ""
    package var clusterID = TopicID.zero
    package var connectionID: UInt64 = 0
    package var principal = ""
    package var frameBytesMax: UInt32 = 0
    package var batchBytesMax: UInt32 = 0
    package var requestsInFlightMax: UInt16 = 0
    package var idleTimeoutMilliseconds: UInt32 = 0
    package var operations: [OperationVersions] = []
    package var challenge: [UInt8] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint16("version", &version, "protocol version of this connection")
        try c.uint64("features", &features, "feature bits in force")
        try c.string("brokerVersion", &brokerVersion, max: 64, "for logs")
        try c.identifier("clusterID", &clusterID, "of the data directory; never changes")
        try c.uint64("connectionID", &connectionID, "names the connection in the broker's log")
        try c.string("principal", &principal, max: 255, "who the client is for authorization")
        try c.uint32("frameBytesMax", &frameBytesMax, "largest `byteCount` the broker reads")
        try c.uint32("batchBytesMax", &batchBytesMax, "largest record batch any topic may allow")
        try c.uint16("requestsInFlightMax", &requestsInFlightMax, "open requests; more wait unread")
        try c.uint32(
            "idleTimeoutMilliseconds", &idleTimeoutMilliseconds, "silence after which it closes")
        try c.array(
            "operations", &operations, max: WireLimits.namesMax, "what the broker can be asked")
        try c.bytes("challenge", &challenge, max: 4_096, "next step of authentication; or empty")
    }
}

package struct PingRequest: WireRequest {
    package typealias Reply = PingReply
    package static let operation = Operation.ping
    package static let purpose = "Asks for a sign of life."

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct PingReply: WireReply {
    package static let operation = Operation.ping
    package static let purpose = "The sign of life."

    package var error = ErrorCode.none
    package var message = ""
    package var wallMilliseconds: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("wallMilliseconds", &wallMilliseconds, "the broker's clock, since 1970 UTC")
    }
}
