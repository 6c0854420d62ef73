import MartletFormat
import MartletSystem
import MartletWire

/// What a member knows of its heartbeats.
struct HeartbeatState {
    /// Of the last assignment applied; 0: none.
    var revision: UInt64 = 0
    var sent: UInt64 = 0
    /// Number of the latest heartbeat that was answered.
    var answered: UInt64 = 0
    /// When the latest heartbeat that was answered had left.
    var heardAt: Int64 = 0
    var isWatched = false
    /// The application's count when it was last looked at, and how often it had changed.
    var seen: UInt64 = 0
    var progress: UInt64 = 0
}

// How a member comes and stays.
extension GroupCore {
    private var session: Int64 { configuration.sessionTimeout.nanosecondsClamped }

    /// What the broker waits for longer than the application may take: the last commit.
    private static let drainMargin = Duration.seconds(5)

    func join() {
        guard phase == .joining, let connection = link.connection else { return }
        var request = JoinGroupRequest()
        request.group = configuration.group
        request.member = member
        request.instance = configuration.instance
        request.sessionMilliseconds = configuration.sessionTimeout.wire
        request.progressMilliseconds = configuration.progressTimeout.wire
        request.drainMilliseconds = (configuration.drainTimeout + Self.drainMargin).wire
        request.topics = configuration.topics.map { TopicNameItem($0) }
        let (sentAt, incarnation) = (now, incarnation)
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self, case .frame(let frame) = outcome, self.phase == .joining,
                self.incarnation == incarnation
            else { return }
            self.joinAnswered(frame, sentAt)
        }
        connection.flush()
    }

    private func joinAnswered(_ frame: ReplyFrame, _ sentAt: Int64) {
        do {
            let reply = try frame.decode(JoinGroupReply.self).message
            guard reply.error == .none else {
                let error = MartletError(reply.error, reply.message, context: facts)
                guard error.isRetriable else { return fail(error) }
                return retry(error) { $0.join() }
            }
            attempts = 0
            phase = .joined
            let incarnation = self.incarnation
            heartbeats = HeartbeatState()
            heartbeats.heardAt = sentAt
            heartbeats.progress = UInt64(incarnation)
            watchSession()
            events.post(.joined(member: member.description))
            joined.succeed(())
            heartbeat()
        } catch {
            link.interrupt(context.brokenProtocol(error))
        }
    }

    var facts: [String: String] { ["group": configuration.group] }

    /// Says that it lives and what it has given up. The broker answers one that still waits at once.
    func heartbeat() {
        guard phase == .joined || phase == .leaving, let connection = link.connection else {
            return
        }
        // Progress is told in time, too.
        let progressTimeout = configuration.progressTimeout
        let shorter =
            progressTimeout > .zero
            ? min(configuration.sessionTimeout, progressTimeout) : configuration.sessionTimeout
        let wait = shorter / 3
        var request = HeartbeatRequest()
        request.group = configuration.group
        request.member = member
        request.revision = heartbeats.revision
        request.progress = progress()
        request.maxWaitMilliseconds = wait.millisecondsClamped
        let released = held.values.filter { $0.phase == .released }.map(\.key)
            .prefix(WireLimits.partitionsPerRequestMax)
        request.released = released.map {
            OwnedPartition(topic: $0.topic, partition: $0.name.partition, epoch: $0.epoch)
        }
        heartbeats.sent += 1
        let beat = Beat(
            number: heartbeats.sent, at: now, incarnation: incarnation,
            released: Array(released))
        // A broker that hangs is noticed while the session still lasts.
        let timeout = wait + min(context.configuration.requestTimeout, wait)
        connection.send(request, timeout: timeout) { [weak self] outcome in
            guard let self, case .frame(let frame) = outcome else { return }
            self.isAnswered(beat, frame)
        }
        connection.flush()
    }

    struct Beat {
        let number: UInt64
        let at: Int64
        let incarnation: Int
        let released: [OwnedKey]
    }

    /// Rises when the application took or asked for anything since the last look, or waits.
    private func progress() -> UInt64 {
        let seen = ledger.progress
        if seen != heartbeats.seen || reading.shelf.waiterCount > 0 { heartbeats.progress += 1 }
        heartbeats.seen = seen
        return heartbeats.progress
    }

    private func isAnswered(_ beat: Beat, _ frame: ReplyFrame) {
        guard beat.incarnation == incarnation, phase == .joined || phase == .leaving else {
            return
        }
        do {
            let reply = try frame.decode(HeartbeatReply.self).message
            guard reply.error == .none else { return isRefused(reply) }
            attempts = 0
            heartbeats.heardAt = max(heartbeats.heardAt, beat.at)
            for key in beat.released where held[key]?.phase == .released { held[key] = nil }
            // One that left later knew at least as much.
            if beat.number > heartbeats.answered {
                heartbeats.answered = beat.number
                if reply.revision != heartbeats.revision, phase == .joined {
                    heartbeats.revision = reply.revision
                    apply(reply)
                }
            }
            guard beat.number == heartbeats.sent else { return }
            // Who answers at once that nothing has changed is not asked in a tight loop.
            if reply.partitions.isEmpty, now - beat.at < 1_000_000 {
                afterPause { core in
                    if core.heartbeats.sent == beat.number { core.heartbeat() }
                }
            } else {
                heartbeat()
            }
        } catch {
            link.interrupt(context.brokenProtocol(error))
        }
    }

    private func isRefused(_ reply: HeartbeatReply) {
        let error = MartletError(reply.error, reply.message, context: facts)
        if error.code == .fencedMember || error.code == .unknownGroup {
            isFenced(error)
        } else if error.isRetriable {
            retry(error) { $0.heartbeat() }
        } else {
            fail(error)
        }
    }

    /// The group has gone on without the member: it has nothing any more and joins anew.
    func isFenced(_ error: MartletError) {
        guard phase == .joined || phase == .leaving else { return }
        incarnation += 1
        lose(Array(held.keys), error)
        events.post(.fenced(error))
        if phase == .leaving { return }
        phase = .joining
        if let instance = configuration.instance {
            steward.add { [weak self] in await self?.returnUnlessTaken(instance, error) }
        } else {
            member = Self.newMember()
            afterPause { $0.join() }
        }
    }

    /// Another process with the same name has taken over: two that take it from each other in turn
    /// would get nothing done. By the steward.
    private func returnUnlessTaken(_ instance: String, _ error: MartletError) async {
        let id = await onQueue { $0.member.description }
        let members = (try? await admin.describeGroup(configuration.group))?.members ?? []
        let isTaken = members.contains { $0.instance == instance && $0.id != id }
        await onQueue { core in
            if isTaken { core.fail(error) } else { core.afterPause { $0.join() } }
        }
    }

    /// Nothing was heard of the broker for the session's time: others may have the partitions.
    private func watchSession() {
        if heartbeats.isWatched { return }
        heartbeats.isWatched = true
        let left = heartbeats.heardAt.addingClamped(session) - now
        context.loop.execute(after: max(left, 1)) { [weak self] in
            guard let self, self.phase == .joined || self.phase == .leaving else { return }
            self.heartbeats.isWatched = false
            if self.now - self.heartbeats.heardAt >= self.session {
                self.heartbeats.heardAt = self.now
                self.heartbeats.revision = 0
                self.lose(
                    Array(self.held.keys),
                    MartletError(
                        .connectionLost, "The group was not reached for the session's time.",
                        isRetriable: true, context: self.facts))
            }
            self.watchSession()
        }
    }
}

extension Duration {
    /// Milliseconds in a signed field.
    fileprivate var wire: Int32 { Int32(clamping: millisecondsClamped) }
}
