import MartletFormat

/// Something that is written to a group's dead letter topic: a record that died, or what was done to
/// it later. In `$groups` first, whole: what is there cannot be lost, and the topic is filled from
/// it.
package struct LetterEntry: Hashable, Sendable {
    package enum Kind: UInt8, Sendable {
        case died = 1
        /// Somebody changed it; what died is still there.
        case edited = 2
        /// Somebody says that it needs no handling any more.
        case resolved = 3
        /// Somebody says who is to look after it.
        case assigned = 4
        /// Somebody says something about it.
        case commented = 5

        /// Whether it changes nothing but what people know of the dead letter.
        package var isRemark: Bool {
            switch self {
            case .assigned, .commented: true
            case .died, .edited, .resolved: false
            }
        }
    }

    /// Why nobody tries it any more.
    package enum Reason: UInt8, Sendable {
        case permanent = 1
        case attempts = 2
        case rejected = 3
        /// Retention was about to take it.
        case retention = 4

        /// As it stands in dead letter topics and in events.
        package var name: String {
            switch self {
            case .permanent: "permanent"
            case .attempts: "attempts"
            case .rejected: "rejected"
            case .retention: "retention"
            }
        }
    }

    package var kind: Kind
    /// One row for all entries of a group, from 1.
    package var number: UInt64
    /// The number of the entry that its record died with first: the dead letter's own.
    package var letter: UInt64
    package var origin: RecordPlace
    /// Of the origin, at that time.
    package var topicName = ""
    /// Who had it, as the member called itself.
    package var member = MemberID(.zero)
    package var client = ""
    /// Handlers that began with it, in all.
    package var attempts: UInt32 = 0
    /// How often it died.
    package var deaths: UInt16 = 0
    package var reason = Reason.permanent
    package var trail: FailureTrail
    /// In milliseconds since 1970 UTC.
    package var at: Int64
    /// Who did it, and why; nobody when it died.
    package var author = ""
    package var note = ""
    /// Who is to look after it from now on; empty: nobody. Of an assignment.
    package var assignee = ""
    /// A batch of one record (RecordBatch v2): the record with its key, headers and time. Only when
    /// it died or was edited.
    package var body: [UInt8] = []

    package init(
        _ kind: Kind, number: UInt64, letter: UInt64, origin: RecordPlace, trail: FailureTrail,
        at: Int64
    ) {
        self.kind = kind
        self.number = number
        self.letter = letter
        self.origin = origin
        self.trail = trail
        self.at = at
    }

    /// About what it takes in memory.
    var bytes: Int {
        body.count + trail.bytes + topicName.utf8.count + client.utf8.count + author.utf8.count
            + note.utf8.count + assignee.utf8.count + 256
    }
}

/// A record by where it lies.
package struct RecordPlace: Hashable, Sendable, Comparable {
    /// Which of the group's accounts it counts in.
    package let queue: QueueID
    package let offset: Int64

    package init(_ queue: QueueID, _ offset: Int64) {
        self.queue = queue
        self.offset = offset
    }

    package var partition: TopicPartition { queue.partition }

    package static func < (left: RecordPlace, right: RecordPlace) -> Bool {
        left.queue == right.queue ? left.offset < right.offset : left.queue < right.queue
    }
}

/// A dead letter, as the broker keeps it in mind; the record itself is in the topic.
package struct Letter: Hashable, Sendable {
    package let number: UInt64
    package let origin: RecordPlace
    package var reason: LetterEntry.Reason
    /// Handlers that began with it, in all.
    package var attempts: UInt32
    package var deaths: UInt16
    /// How often it was sent to the group again.
    package var replays: UInt16 = 0
    /// When it died last, in milliseconds since 1970 UTC.
    package var diedAt: Int64
    /// With the group again, and not handled yet.
    package var isReplaying = false
    /// What was copied when retention was about to take it; 0: something else made it die.
    package var rescuedBytes: UInt32 = 0
    /// Who is to look after it; empty: nobody.
    package var assignee = ""
    /// How often somebody assigned it or said something about it.
    package var remarks: UInt16 = 0
    /// The number of the newest entry that has a record: of what would be sent again.
    package var newest: UInt64
    /// Where that lies in the dead letter topic; nil: only in `$groups` so far.
    package var place: Int64?
    /// The record itself was sent to the group again since it died, beside the letter.
    package var isOriginOwed = false
    /// Where it died when the letter was with the group again: places on its lane, the newest of them
    /// last.
    package var diedOnLane: [Int64] = []
    /// Where the last of its entries lies there that is known, of any kind: the newest may be on its
    /// way.
    package var lastPlace: Int64?

    package init(
        number: UInt64, origin: RecordPlace, reason: LetterEntry.Reason, attempts: UInt32,
        deaths: UInt16, diedAt: Int64
    ) {
        self.number = number
        self.origin = origin
        self.reason = reason
        self.attempts = attempts
        self.deaths = deaths
        self.diedAt = diedAt
        newest = number
    }
    /// Of more it is not known any more.
    package static let lanePlacesMax = 16

    mutating func die(onLaneAt place: Int64) {
        diedOnLane = diedOnLane.suffix(Self.lanePlacesMax - 1) + [place]
    }

    /// What is settled because it is dead; `lane`: of its group's letters.
    func deadPlaces(_ lane: QueueID?) -> [RecordPlace] {
        let onLane = lane.map { lane in diedOnLane.map { RecordPlace(lane, $0) } } ?? []
        return isOriginOwed ? onLane : onLane + [origin]
    }
}
