import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// What a member knows of its heartbeats.
struct HeartbeatState {
    /// Of the last assignment heard; 0: none.
    var revision: UInt64 = 0
    var sent: UInt64 = 0
    /// Number of the latest heartbeat that was answered.
    var answered: UInt64 = 0
    /// When the latest heartbeat that was answered had left, on the clock of `sessionEnd`.
    var heardAt: Int64 = 0
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
        guard phase == .joining, !isAskingForName, let connection = link.connection else { return }
        var request = JoinGroupRequest()
        request.group = configuration.group
        request.member = member
        request.instance = configuration.instance
        request.sessionMilliseconds = configuration.sessionTimeout.wire
        request.progressMilliseconds = configuration.progressTimeout.wire
        request.drainMilliseconds = (configuration.drainTimeout + Self.drainMargin).wire
        request.topics = configuration.topics.map { TopicNameItem($0) }
        trace(.joining(member: member.description))
        let (sentAt, incarnation) = (bootNow, incarnation)
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self, self.phase == .joining, self.incarnation == incarnation else { return }
            switch outcome {
            case .frame(let frame): self.joinAnswered(frame, sentAt)
            case .lost(let error):
                // Said again when the connection is back; but what no request can carry never is.
                if !error.isRetriable { self.fail(error) }
            }
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
            heartbeats.progress = UInt64(incarnation)
            hear(sentAt)
            trace(.heard(member: member.description, asked: sentAt))
            watchSession(incarnation)
            events.post(.joined(member: member.description))
            joined.succeed(())
            tellJoined()
            heartbeat()
        } catch {
            link.interrupt(context.brokenProtocol(error))
        }
    }

    var facts: [String: String] { ["group": configuration.group] }

    /// Says that it lives and what it has given up. The broker answers one that still waits at once.
    func heartbeat() {
        guard isMember, let connection = link.connection else { return }
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
        request.news = news.number
        request.maxWaitMilliseconds = wait.millisecondsClamped
        let released = held.values.filter { $0.phase == .released }.map(\.key)
            .prefix(WireLimits.partitionsPerRequestMax)
        for key in released {
            trace(.releasing(member: member.description, key.part))
        }
        request.released = released.map {
            OwnedPartition(topic: $0.topic, partition: $0.name.partition, epoch: $0.epoch)
        }
        heartbeats.sent += 1
        let beat = Beat(
            number: heartbeats.sent, at: bootNow, incarnation: incarnation,
            revision: request.revision, released: Array(released))
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
        let revision: UInt64
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
        guard beat.incarnation == incarnation, isMember else { return }
        do {
            let reply = try frame.decode(HeartbeatReply.self).message
            guard reply.error == .none else { return isRefused(reply) }
            attempts = 0
            hear(max(heartbeats.heardAt, beat.at))
            trace(.heard(member: member.description, asked: beat.at))
            for key in beat.released where held[key]?.phase == .released { held[key] = nil }
            // One that left later knew at least as much.
            if beat.number > heartbeats.answered {
                heartbeats.answered = beat.number
                for event in news.read(reply) { events.post(.news(event)) }
                // With the revision that it named, the lists are empty, whatever is known by now.
                if reply.revision != beat.revision {
                    // Named by the next one, also of who leaves, or it would be told at once again.
                    heartbeats.revision = reply.revision
                    if phase == .joined { apply(reply) }
                }
            }
            guard beat.number == heartbeats.sent else { return }
            // Who answers at once that nothing has changed is not asked in a tight loop.
            if reply.partitions.isEmpty, bootNow - beat.at < 1_000_000 {
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

    /// The group has gone on without the member: it has nothing any more and joins anew, unless it
    /// was about to leave.
    func isFenced(_ error: MartletError) {
        guard isMember else { return }
        incarnation += 1
        lose(Array(held.keys), error)
        events.post(.fenced(error))
        if phase == .leaving {
            phase = .left
            return
        }
        phase = .joining
        if let instance = configuration.instance {
            isAskingForName = true
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
        let isTaken = await isTaken(instance, by: id)
        await onQueue { core in
            switch isTaken {
            case true?: core.fail(error)
            case false?:
                core.isAskingForName = false
                core.afterPause { $0.join() }
            case nil:
                core.afterPause { core in
                    core.steward.add { [weak core] in
                        await core?.returnUnlessTaken(instance, error)
                    }
                }
            }
        }
    }

    /// Whether another member has the name; nil: the broker does not say.
    private func isTaken(_ instance: String, by id: String) async -> Bool? {
        do {
            let group = configuration.group
            let members = try await ask { try await $0.describeGroup(group).members }
            return members.contains { $0.instance == instance && $0.id != id }
        } catch let error as MartletError where error.code == .unknownGroup {
            return false
        } catch {
            return nil
        }
    }

    // MARK: - The session

    private var bootNow: Int64 { context.clock.bootNanoseconds() }

    /// The broker may take the member for dead: what is read by now must not be handed out before
    /// `checkSession` has run.
    var isOverdue: Bool { bootNow >= sessionEnd.load(ordering: .acquiring) }

    private func hear(_ time: Int64) {
        heartbeats.heardAt = time
        sessionEnd.store(time.addingClamped(session), ordering: .releasing)
    }

    private func watchSession(_ incarnation: Int) {
        let left = sessionEnd.load(ordering: .relaxed) - bootNow
        context.loop.execute(after: max(left, 1)) { [weak self] in
            guard let self, incarnation == self.incarnation, self.isMember else { return }
            self.checkSession()
            self.watchSession(incarnation)
        }
    }

    /// When nothing was heard of the broker for the session's time, others may have the partitions.
    func checkSession() {
        guard isOverdue, isMember else { return }
        hear(bootNow)
        heartbeats.revision = 0
        lose(
            Array(held.keys),
            MartletError(
                .connectionLost, "The group was not reached for the session's time.",
                context: facts))
        heartbeat()
    }
}

extension Duration {
    /// Milliseconds in a signed field.
    var wire: Int32 { Int32(clamping: millisecondsClamped) }
}
