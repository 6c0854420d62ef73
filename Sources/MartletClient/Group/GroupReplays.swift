import MartletFormat
import MartletWire

/// What was sent to a stream group again: handed to any of its members beside their partitions, and
/// handled by the same handler.
///
/// Not for members that commit before they handle: what is sent again is meant to be handled again.
final class GroupReplays: LeaseTaker {
    /// For so long a record is this member's alone; extended while it lives.
    private static let lease = Duration.seconds(30)
    /// Records that are held ready beyond those being handled.
    private static let prefetch = 256

    private let core: GroupCore
    private let work: LeasedWork

    /// - Parameter failed: is told of an error that is to end the member.
    init(
        _ core: GroupCore, _ handling: GroupHandling, _ slots: HandlerSlots,
        _ handler: @escaping GroupHandlers.Handler,
        failed: @escaping @Sendable (any Error) -> Void
    ) {
        self.core = core
        let configuration = core.configuration
        let isByPolicy = configuration.failures == .byPolicy
        let settings = LeasedWork.Settings(
            group: configuration.group, concurrency: handling.concurrency,
            window: handling.concurrency + Self.prefetch, lease: Self.lease,
            handlerTimeout: configuration.handlerTimeout,
            drainTimeout: configuration.drainTimeout, slots: slots)
        work = LeasedWork(settings, core.context) { again in
            do {
                try await handler(again.record)
                return .done
            } catch {
                guard !isByPolicy, !Task.isCancelled else { throw error }
                failed(error)
                return .again(after: .zero)
            }
        }
    }

    /// Returns when it was stopped, and what handlers have begun is over and said; with the error that
    /// ended it.
    func run() async -> (any Error)? {
        await work.run(self)
        await work.port.close()
        return work.end.error
    }

    /// Nothing more is taken, and no handler begins.
    func stop() { work.stop(nil) }

    func member() async throws -> TopicID? { try await core.memberInGroup() }

    func isUnknown(_ member: TopicID, _ error: MartletError) async -> Bool {
        guard error.code == .fencedMember || error.code == .unknownGroup else { return false }
        await core.onQueue { core in
            // It may have joined anew meanwhile.
            if core.member == member { core.isFenced(error) }
        }
        return true
    }
}

extension GroupConsumerConfiguration {
    /// Who asks for nothing for so long is stuck, and so is a handler.
    fileprivate var handlerTimeout: Duration {
        progressTimeout > .zero ? progressTimeout : .seconds(365 * 86_400)
    }
}

extension GroupCore {
    /// The member's id, once it is in the group; nil: it is on its way out.
    fileprivate func memberInGroup() async throws -> TopicID? {
        while true {
            let promise = Promise<Void>()
            let (member, isOver) = await onQueue { core -> (TopicID?, Bool) in
                switch core.phase {
                case .joined where !core.isFailed: return (core.member, false)
                case .joining where !core.isFailed:
                    core.whenJoined.append(promise)
                    return (nil, false)
                case .joined, .joining, .leaving, .left, .closed: return (nil, true)
                }
            }
            if member != nil || isOver { return member }
            try await promise.value()
        }
    }

    /// It is in the group, or never will be again.
    func tellJoined() {
        for promise in whenJoined { promise.succeed(()) }
        whenJoined = []
    }
}
