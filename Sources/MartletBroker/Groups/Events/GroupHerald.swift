import MartletGroups
import MartletTelemetry

/// Tells what happened to groups, once it holds: in the log what somebody may have to look after, in
/// the counters, and in `$group-events` all of it. One place for all three, so that they say the
/// same.
struct GroupHerald: Sendable {
    /// A planted fault.
    let tellsAtOnce: Bool
    private let counters: GroupCounters
    private let logger: Logger
    /// Of what members can make happen as often as they like.
    private let peerLogger: Logger
    /// nil: switched off.
    private let topic: GroupEventTopic?

    init(_ setup: GroupService.Setup) {
        tellsAtOnce = setup.limits.plantedBug == .tellBeforeDurable
        counters = setup.counters
        logger = setup.logger
        peerLogger = setup.logger.limited()
        topic = setup.events.map { GroupEventTopic(setup, $0) }
    }

    func tell(_ events: [GroupEvent]) {
        for event in events { log(event) }
        topic?.take(events)
    }

    /// After an end that was none in order, what happened last may never have been told.
    func began(isClean: Bool) {
        guard !isClean else { return }
        topic?.tellCrash()
    }

    func stop() { topic?.stop() }

    private func log(_ event: GroupEvent) {
        switch event.kind {
        case .memberTimedOut:
            logger.warning(
                "MEMBER_DEAD", "a member sends no heartbeats: its partitions go to others",
                facts(event))
        case .memberStuck:
            logger.warning(
                "MEMBER_STUCK", "a member takes no records: its partitions go to others",
                facts(event))
        case .partitionsTaken:
            counters.overruns.add()
            logger.warning(
                "MEMBER_SLOW_TO_DRAIN",
                "a member did not give a partition up in its drain time: what it has of it in hand "
                    + "may be handled by another too, and its commits there are refused",
                facts(event))
        case .groupExpired:
            counters.expiries.add()
            logger.notice(
                "GROUP_EXPIRED",
                "nobody was in a group for the time of group.expiry: it is gone, with its offsets",
                facts(event) + [("since", LogValue(event.from ?? -1))])
        case .groupPaused where event.by != .person:
            logger.warning(
                "GROUP_STOPPED",
                "a handler failed, and the group stands still there until it is resumed: its policy "
                    + "says so, or no more records may be parked, or wait behind parked ones",
                facts(event))
        case .groupReset where event.by == .policy:
            peerLogger.warning(
                "GROUP_RESET_BY_POLICY",
                "what a group was to read is not there: its members' reset policy chose where it "
                    + "goes on",
                facts(event) + [
                    ("reason", LogValue(event.reason)), ("from", LogValue(event.from ?? -1)),
                    ("to", LogValue(event.to ?? -1)),
                ])
        case .groupReset where event.by == .broker:
            logger.error(
                "GROUP_SET_BACK",
                "a group had committed more than its topic has: it goes on at the topic's end",
                facts(event) + [
                    ("from", LogValue(event.from ?? -1)), ("to", LogValue(event.to ?? -1)),
                ])
        case .breakerOpened: logOpening(event)
        case .breakerHalfOpen:
            logger.notice("BREAKER_HALF_OPEN", "a few records of a group are tried", facts(event))
        case .breakerClosed: logger.notice("BREAKER_CLOSED", "a group goes on", facts(event))
        case .headroomLow, .headroomCritical, .headroomBack: logHeadroom(event)
        // Said where somebody asked for it, or no trouble.
        case .groupCreated, .groupDeleted, .groupPaused, .groupResumed, .groupReset, .policySet,
            .memberJoined, .memberChanged, .memberLeft, .memberFenced, .partitionsAssigned,
            .partitionsGivenUp, .recordsParked, .recordsReleased, .recordsDead, .recordsRescued,
            .recordsExpired, .recordsReplayed, .recordsTakenBack, .lettersReplayed, .lettersEdited,
            .lettersResolved, .lettersAssigned, .lettersCommented, .eventsMissed:
            break
        }
    }

    private func logOpening(_ event: GroupEvent) {
        var told = facts(event)
        told.append(("milliseconds", LogValue((event.to ?? 0) &- (event.from ?? 0))))
        told.append(("by", LogValue(event.by.rawValue)))
        guard event.by == .person else {
            logger.warning(
                "BREAKER_OPENED", "too much of a group fails: nothing is handed out for a while",
                told)
            return
        }
        told.append(("client", LogValue(event.client)))
        logger.warning(
            "BREAKER_OPENED",
            "somebody opened a group's breaker: nothing is handed out for a while", told)
    }

    private func logHeadroom(_ event: GroupEvent) {
        let shortage: [(String, LogValue)] = [
            ("partitions", LogValue(Int64(event.partitions.count))),
            ("records", LogValue(event.count ?? 0)), ("by", LogValue(event.reason)),
            ("to", LogValue(event.to ?? -1)),
        ]
        if event.kind == .headroomCritical {
            logger.error(
                "GROUP_ABOUT_TO_LOSE", "retention will soon take what a group has not handled",
                facts(event) + shortage)
        } else if event.kind == .headroomLow {
            logger.warning(
                "GROUP_HEADROOM_LOW", "retention will take what a group has not handled",
                facts(event) + shortage)
        } else {
            logger.notice(
                "GROUP_HEADROOM_BACK",
                "retention is not near any more to what a group has not handled", facts(event))
        }
    }

    private func facts(_ event: GroupEvent) -> [(String, LogValue)] {
        var facts: [(String, LogValue)] = [("group", LogValue(event.group))]
        if let member = event.member { facts.append(("member", LogValue("\(member)"))) }
        if let topic = event.topic {
            facts.append(("topic", LogValue(event.topicName ?? "\(topic)")))
        }
        if let partition = event.partitions.first {
            facts.append(("partition", LogValue(Int64(partition))))
        }
        return facts
    }
}
