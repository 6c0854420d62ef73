import MartletClient
import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletSystem

extension ToolError {
    /// Any error as one line and an exit code.
    init(describing error: any Error) {
        self =
            switch error {
            case let error as ToolError: error
            case let error as MartletError: ToolError(describing: error, advice: nil)
            case let error as CommandLineError:
                ToolError(Self.exitCode(of: error), error.description)
            case let error as ConfigurationFailure: ToolError(.usage, error.description)
            case let error as SystemError: ToolError(describing: error)
            case let error as StorageError: ToolError(.failure, error.message)
            case let error as FormatError: ToolError(.failure, "\(error)")
            case is CancellationError: ToolError(.failure, "interrupted.")
            case let error: ToolError(.failure, "\(error)")
            }
    }

    /// To a monitoring system a check that is called wrongly tells nothing: 2 would be an alarm.
    private static func exitCode(of error: CommandLineError) -> ToolExitCode {
        error.command.hasPrefix("martlet check ") ? CheckState.unknown.exitCode : .usage
    }

    private init(describing error: SystemError) {
        if error.isNotFound {
            self.init(.notFound, "\(error.subject): there is no such file or directory.")
        } else {
            self.init(.failure, "\(error).")
        }
    }
}

extension ToolError {
    init(describing error: MartletError, advice nearest: String?) {
        let code = Self.exitCode(of: error.code)
        var message = error.message
        if message.hasSuffix(".") { message.removeLast() }
        if error.code == .unknownGroup, let group = error.context["group"] {
            message = "there is no group '\(Shown.text(group))'"
        }
        let unnamed = Self.unnamed(error, in: message)
        if !unnamed.isEmpty { message = "\(unnamed.joined(separator: ", ")): \(message)" }
        if let advice = nearest ?? Self.advice(error) { message += ": \(advice)" }
        self.init(code, "\(message) (\(error.code.name))")
    }

    /// What the error is about, where its message does not say it.
    private static func unnamed(_ error: MartletError, in message: String) -> [String] {
        // As a word: a topic may be called `t`.
        let words = message.split { !($0.isLetter || $0.isNumber || "._-".contains($0)) }
        func fact(_ name: String) -> [String] {
            error.context[name].map { ["\(name) \($0)"] } ?? []
        }
        func isMissing(_ name: String) -> Bool {
            error.context[name].map { !words.contains($0[...]) } ?? false
        }
        return (isMissing("group") ? fact("group") : [])
            + (isMissing("topic") ? fact("topic") + fact("partition") : [])
    }

    /// The exit code that a broker's or the client's error leads to.
    static func exitCode(of code: MartletErrorCode) -> ToolExitCode {
        switch code {
        case .unknownTopic, .unknownTopicID, .unknownPartition, .offsetOutOfRange, .offsetsLost,
            .unknownGroup, .unknownDeadLetter, .notParked:
            .notFound
        case .notAuthorized, .diskFull, .messageTooLarge, .limitReached, .invalidRecord,
            .invalidTimestamp, .unsupportedCompressionType, .groupNotEmpty:
            .refused
        case .requestTimedOut, .deadlineExceeded: .timeout
        case .topicExists, .staleProducerEpoch, .outOfOrderSequence, .duplicateSequence,
            .groupExists, .fencedMember, .staleMemberEpoch, .resetOutdated,
            .deadLetterQuarantined, .deadLetterBusy:
            .conflict
        case .connectionFailed, .connectionLost, .shuttingDown: .unreachable
        case .invalidArgument, .invalidConfig, .invalidPartitions, .invalidTopicName,
            .invalidGroupName, .corruptMessage:
            .usage
        case _: .failure  // no closed set: newer brokers may answer with codes of their own
        }
    }

    private static func unreachable(_ error: MartletError) -> String {
        switch error.context["cause"] {
        case "name": "name another broker with --server or MARTLET_SERVER"
        case "protocol": "does --server name the broker's port, and not that of its admin listener?"
        case "closed":
            "it may have all the connections that it takes; then its log says CONNECTION_REFUSED"
        case _: "is martletd running there? Name another broker with --server or MARTLET_SERVER"
        }
    }

    /// What to do about it, where that is known.
    private static func advice(_ error: MartletError) -> String? {
        switch error.code {
        case .connectionFailed: unreachable(error)
        case .unknownGroup: "'martlet group list' shows what there is"
        case .unknownTopic: "'martlet topic list' shows what there is"
        case .topicExists: "add --if-not-exists if that is fine"
        case .corruptMessage: "'martlet topic verify' shows all damaged ranges"
        case .offsetOutOfRange: "'martlet offsets' shows what there is"
        case .diskFull: "'martlet doctor' says how much space there is"
        case _: nil  // the message says it
        }
    }
}
