import MartletWire

/// Which version of each operation a connection speaks: the highest that both ends know.
struct AgreedVersions {
    private var offered: [Operation: ClosedRange<UInt16>] = [:]
    private var brokerVersion = ""

    /// Before hello was answered: nothing but hello itself.
    init() {}

    /// - Parameter reply: the broker's hello.
    init(_ reply: HelloReply) {
        brokerVersion = reply.brokerVersion
        for line in reply.operations where line.versionMin <= line.versionMax {
            // What this client does not know it does not ask for either.
            guard let operation = Operation(rawValue: line.operation) else { continue }
            offered[operation] = line.versionMin...line.versionMax
        }
    }

    /// nil: there is none; `refusal` says why.
    func version(of operation: Operation) -> UInt16? {
        if operation == .hello { return HelloRequest.operation.versions.upperBound }
        return offered[operation].flatMap { Self.highest(operation.versions, $0) }
    }

    /// The highest version that is in both ranges.
    static func highest(_ own: ClosedRange<UInt16>, _ offered: ClosedRange<UInt16>) -> UInt16? {
        own.overlaps(offered) ? min(own.upperBound, offered.upperBound) : nil
    }

    /// The error for an operation without a common version; nil when there is one.
    func refusal(of operation: Operation, _ context: ConnectionContext) -> MartletError? {
        if version(of: operation) != nil { return nil }
        let own = operation.versions
        let spoken =
            "this client (\(ClientVersion.text)) speaks \(operation.name) in versions "
            + "\(own.lowerBound) to \(own.upperBound)"
        let broker = "The broker at \(context.configuration.server) (\(brokerVersion))"
        let message: String
        if let offered = offered[operation] {
            let advice =
                offered.lowerBound > own.upperBound
                ? "use a newer client" : "update the broker, or use an older client"
            message =
                "\(broker) speaks \(operation.name) in versions \(offered.lowerBound) to "
                + "\(offered.upperBound), and \(spoken): \(advice)."
        } else {
            message =
                "\(broker) does not offer \(operation.name), and \(spoken): update the broker."
        }
        return MartletError(
            .unsupportedVersion, message, outcome: .notWritten,
            context: context.facts.merging(["operation": operation.name]) { old, _ in old })
    }
}
