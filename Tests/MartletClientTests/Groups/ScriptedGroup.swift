import MartletFormat
import MartletTestSupport
import MartletWire
import Synchronization

@testable import MartletClient

/// What the scripted broker does for members of groups, and what it was asked.
struct GroupScript: Sendable {
    enum Act: Sendable {
        case normal
        case refuse(ErrorCode)
        /// Answers when `releaseHeld` is called: with this code.
        case hold(ErrorCode)
    }

    var onJoin: @Sendable (Int) -> Act = { _ in .normal }
    var onHeartbeat: @Sendable (HeartbeatRequest) -> ErrorCode = { _ in .none }
    var onCommit: @Sendable (CommitOffsetsRequest) -> Act = { _ in .normal }
    var onDescribe: @Sendable (Int) -> (ErrorCode, [GroupMemberLine]) = { _ in (.none, []) }
    /// What a heartbeat that waits hears when its member leaves, before the goodbye is answered.
    var onLeave = ErrorCode.none
    var joins: [JoinGroupRequest] = []
    var commits: [CommitOffsetsRequest] = []
    var leaves: [LeaveGroupRequest] = []
    var describes = 0

    /// The offsets that were committed, in their order.
    var offsets: [Int64] { commits.flatMap { $0.entries.map(\.position.offset) } }
}

/// One group, whose member owns what the test says.
final class ScriptedGroup {
    struct Parked {
        let peer: ScriptedBroker.Peer
        let header: FrameHeader
    }

    var revision: UInt64 = 1
    /// The revision that the latest heartbeat named.
    var heard: UInt64 = 0
    var topics: [TopicNaming] = []
    var partitions: [AssignedPartition] = []
    var parked: [Parked] = []
}

extension ScriptedBroker {
    /// The member owns the topic's first partition from now on, or nothing.
    func assign(_ name: String?, epoch: Int32 = 1, committed: Int64 = -1) {
        assign(name.map { [$0] } ?? [], epoch: epoch, committed: committed)
    }

    /// The member owns the first partition of each of the topics from now on.
    func assign(_ names: [String], epoch: Int32 = 1, committed: Int64 = -1) {
        onQueue { broker in
            broker.group.revision += 1
            broker.group.topics = []
            broker.group.partitions = []
            for name in names {
                guard let topic = broker.topics[name] else { continue }
                broker.group.topics.append(TopicNaming(topic: topic.id, name: name))
                var partition = AssignedPartition()
                partition.owned = OwnedPartition(topic: topic.id, partition: 0, epoch: epoch)
                partition.committed.offset = committed
                broker.group.partitions.append(partition)
            }
            broker.answerParked(isNew: true)
        }
    }

    /// Waits until the member has heard what it owns, and its heartbeat waits for news.
    func waitUntilHeard() async {
        while onQueue({ $0.group.heard != $0.group.revision || $0.group.parked.isEmpty }) {
            await Task.yield()
        }
    }

    /// Answers the heartbeats that wait.
    func wakeMembers() { onQueue { $0.answerParked(isNew: false) } }

    private func answerParked(isNew: Bool, _ error: ErrorCode = .none) {
        let parked = group.parked
        group.parked = []
        for one in parked {
            var answer = HeartbeatReply()
            answer.error = error
            answer.revision = group.revision
            if isNew { fill(&answer) }
            reply(one.peer, one.header, answer)
        }
    }

    private func fill(_ answer: inout HeartbeatReply) {
        answer.topics = group.topics
        answer.partitions = group.partitions
    }

    func join(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(JoinGroupRequest.self, peer, payload) else { return }
        let act = script.withLock { script in
            script.group.joins.append(request)
            return script.group.onJoin(script.group.joins.count)
        }
        perform(act) { [self] error in
            var answer = JoinGroupReply()
            answer.error = error
            reply(peer, header, answer)
        }
    }

    func heartbeat(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(HeartbeatRequest.self, peer, payload) else { return }
        answerParked(isNew: false)
        group.heard = request.revision
        var answer = HeartbeatReply()
        answer.error = script.withLock { $0.group.onHeartbeat }(request)
        answer.revision = group.revision
        if answer.error == .none, request.revision == group.revision {
            group.parked.append(ScriptedGroup.Parked(peer: peer, header: header))
            return
        }
        fill(&answer)
        reply(peer, header, answer)
    }

    func commit(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(CommitOffsetsRequest.self, peer, payload) else { return }
        let act = script.withLock { script in
            script.group.commits.append(request)
            return script.group.onCommit(request)
        }
        perform(act) { [self] error in
            var answer = CommitOffsetsReply()
            answer.error = error
            answer.results = request.entries.map { _ in CommitResult() }
            reply(peer, header, answer)
        }
    }

    func leave(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard let request = decode(LeaveGroupRequest.self, peer, payload) else { return }
        let heartbeats = script.withLock { script in
            script.group.leaves.append(request)
            return script.group.onLeave
        }
        if heartbeats != .none { answerParked(isNew: false, heartbeats) }
        reply(peer, header, LeaveGroupReply())
    }

    func describe(_ peer: Peer, _ header: FrameHeader, _ payload: Range<Int>) {
        guard decode(DescribeGroupRequest.self, peer, payload) != nil else { return }
        var answer = DescribeGroupReply()
        (answer.error, answer.members) = script.withLock { script in
            script.group.describes += 1
            return script.group.onDescribe(script.group.describes)
        }
        reply(peer, header, answer)
    }

    private func perform(_ act: GroupScript.Act, _ answer: @escaping (ErrorCode) -> Void) {
        switch act {
        case .normal: answer(.none)
        case .refuse(let error): answer(error)
        case .hold(let error): held.append { answer(error) }
        }
    }
}
