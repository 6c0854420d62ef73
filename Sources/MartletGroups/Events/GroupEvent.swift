package import MartletFormat

/// Something that happened to a group, for people and programs beside it: made of a record that holds,
/// and of why it was recorded. What is not there means nothing for the kind.
package struct GroupEvent: Hashable, Sendable {
    /// The names stand in `$group-events`: a new one may come, none changes.
    package enum Kind: String, CaseIterable, Sendable {
        case groupCreated = "group.created"
        case groupDeleted = "group.deleted"
        case groupExpired = "group.expired"
        case groupPaused = "group.paused"
        case groupResumed = "group.resumed"
        case groupReset = "group.reset"
        case policySet = "policy.set"
        case memberJoined = "member.joined"
        case memberChanged = "member.changed"
        case memberLeft = "member.left"
        case memberTimedOut = "member.timed-out"
        case memberStuck = "member.stuck"
        case memberFenced = "member.fenced"
        case partitionsAssigned = "partitions.assigned"
        case partitionsGivenUp = "partitions.given-up"
        case partitionsTaken = "partitions.taken"
        case breakerOpened = "breaker.opened"
        case breakerHalfOpen = "breaker.half-open"
        case breakerClosed = "breaker.closed"
        case headroomLow = "headroom.low"
        case headroomCritical = "headroom.critical"
        case headroomBack = "headroom.back"
        case recordsParked = "records.parked"
        case recordsReleased = "records.released"
        case recordsDead = "records.dead-lettered"
        case recordsRescued = "records.rescued"
        case recordsExpired = "records.expired"
        case recordsReplayed = "records.replayed"
        case recordsTakenBack = "records.taken-back"
        case lettersReplayed = "letters.replayed"
        case lettersEdited = "letters.edited"
        case lettersResolved = "letters.resolved"
        case lettersAssigned = "letters.assigned"
        case lettersCommented = "letters.commented"
        /// Of the events themselves: some were not written.
        case eventsMissed = "events.missed"

        /// What an event of the kind is about.
        package enum Subject: Sendable {
            /// The group or a member: each event stands for itself.
            case group
            /// The partitions that it lists.
            case partitions
            /// Records of one partition, counted.
            case records
        }

        package var subject: Subject {
            switch self {
            case .partitionsAssigned, .partitionsGivenUp, .partitionsTaken: .partitions
            case .recordsParked, .recordsReleased, .recordsDead, .recordsRescued, .recordsExpired,
                .recordsReplayed, .recordsTakenBack, .lettersReplayed, .lettersEdited,
                .lettersResolved, .lettersAssigned, .lettersCommented:
                .records
            case .groupCreated, .groupDeleted, .groupExpired, .groupPaused, .groupResumed,
                .groupReset, .policySet, .memberJoined, .memberChanged, .memberLeft,
                .memberTimedOut, .memberStuck, .memberFenced, .breakerOpened, .breakerHalfOpen,
                .breakerClosed, .headroomLow, .headroomCritical, .headroomBack, .eventsMissed:
                .group
            }
        }
    }

    /// Who made it happen.
    package enum Actor: String, CaseIterable, Sendable {
        case person
        case member
        /// What the group was told to do by itself: its failure policy, its breaker, a reset policy.
        case policy
        case time
        case broker
    }

    package let kind: Kind
    package let group: String
    package var by: Actor
    /// Milliseconds since 1970 UTC.
    package var at: Int64 = 0
    /// Where in `$groups` it was recorded, or what it says was last: the partition, and the offset.
    /// What comes later to a group has a higher one.
    package var shard: Int32 = 0
    package var number: Int64 = -1
    package var member: MemberID?
    package var instance: String?
    /// The program that the member, or the person, used.
    package var client = ""
    package var topic: TopicID?
    /// nil: it is gone.
    package var topicName: String?
    /// None: all of the topic.
    package var partitions: [Int32] = []
    /// How many records, letters or partitions.
    package var count: Int64?
    /// Of records: the first, and the one behind the last. Of a reset: where it was, and is. Of a
    /// breaker: since and until when it is open. Of a group that expired: since when it was empty. Of
    /// headroom, until then: a time, or bytes.
    package var from: Int64?
    package var to: Int64?
    package var reason = ""

    package init(_ kind: Kind, _ group: String, by actor: Actor) {
        self.kind = kind
        self.group = group
        by = actor
    }
}

/// Why something is recorded, as far as the record does not say it.
package enum GroupCause: Sendable {
    /// A member asked for something; what comes of it beside that is the group's policy.
    case member
    /// A person, with a program of this name.
    case person(client: String)
    /// Deadlines that were over at this moment.
    case time(Now)
    /// The broker itself: it hands out, tidies up, and sees what retention does.
    case broker

    var actor: GroupEvent.Actor {
        switch self {
        case .member: .member
        case .person: .person
        case .time: .time
        case .broker: .broker
        }
    }

    /// Of what nobody asked for by name.
    var actorOrPolicy: GroupEvent.Actor {
        switch self {
        case .member, .time, .broker: .policy
        case .person: .person
        }
    }

    /// The program that a person used.
    var client: String {
        if case .person(let client) = self { return client }
        return ""
    }
}
