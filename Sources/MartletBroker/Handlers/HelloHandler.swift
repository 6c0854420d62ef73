import MartletTelemetry
import MartletWire

/// Turns a connection that nobody knows into one that may ask for things.
struct HelloHandler: Sendable {
    /// The protocol versions that this build speaks; the last two before the newest stay.
    static let protocolVersions: ClosedRange<UInt16> = 1...1
    static let anonymous = "anonymous"

    private let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func handle(_ frame: Frame, _ connection: Connection) {
        let header = frame.header
        let hello: HelloRequest
        do throws(WireError) {
            hello = try frame.decode(HelloRequest.self).message
        } catch {
            connection.reply(error: error.code, error.description, to: header)
            return
        }
        guard hello.magic == HelloRequest.magic else {
            connection.reply(
                error: .invalidRequest, "the hello does not begin with the magic", to: header)
            connection.finish(refusal: nil, .helloRequired, detail: "wrong magic")
            return
        }
        let ours = Self.protocolVersions
        guard hello.versionMin <= hello.versionMax, hello.versionMin <= ours.upperBound,
            hello.versionMax >= ours.lowerBound
        else {
            connection.reply(
                error: .unsupportedVersion,
                "protocol versions \(ours.lowerBound) to \(ours.upperBound) are spoken here, not "
                    + "\(hello.versionMin) to \(hello.versionMax)", to: header)
            return
        }
        guard hello.mechanism.isEmpty, hello.credentials.isEmpty else {
            connection.reply(
                error: .notAuthorized, "there is no such mechanism of authentication", to: header)
            return
        }
        let version = min(hello.versionMax, ours.upperBound)
        let state = Authenticated(
            principal: Self.anonymous, protocolVersion: version, clientName: hello.clientName)
        connection.becomeAuthenticated(state)
        connection.reply(reply(version, state, connection), to: header)
        services.logger.debug(
            "HELLO", "a client said hello",
            [
                ("peer", .string(connection.peer)), ("connection", .unsigned(connection.id)),
                ("client", .string(hello.clientName)),
                ("clientVersion", .string(hello.clientVersion)),
            ])
    }

    private func reply(
        _ version: UInt16, _ state: Authenticated, _ connection: Connection
    ) -> HelloReply {
        // Those in force, which a reload may have changed.
        let limits = connection.loop.limits
        var reply = HelloReply()
        reply.version = version
        reply.brokerVersion = services.identity.version
        reply.clusterID = services.identity.clusterID
        reply.connectionID = connection.id
        reply.principal = state.principal
        reply.frameBytesMax = UInt32(clamping: limits.frameBytesMax)
        reply.batchBytesMax = UInt32(clamping: limits.batchBytesMax)
        reply.requestsInFlightMax = UInt16(clamping: limits.requestsInFlightMax)
        reply.idleTimeoutMilliseconds = UInt32(clamping: limits.idleTimeoutMilliseconds)
        reply.operations = Operation.allCases.map(OperationVersions.init)
        return reply
    }
}
