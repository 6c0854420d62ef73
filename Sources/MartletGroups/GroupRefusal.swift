/// Why a command changes nothing.
package enum GroupRefusal: Error, Equatable, Sendable {
    case unknownGroup
    case groupExists
    /// The member is not in the group: it never was, left, or was taken for dead or stuck.
    case fencedMember(reason: String)
    /// The partition is not the member's under this epoch.
    case staleEpoch
    /// Nobody owns the partition while the group stands still there.
    case paused
    /// A member owns the partition, and the group is not paused there.
    case partitionInUse(String)
    /// How far the group is has changed since a reset was planned.
    case resetOutdated(String)
    /// Only a group without members can be changed like that.
    case groupNotEmpty(members: Int)
    /// The group is of this kind, not of the one that was asked for.
    case wrongKind(GroupKind)
    /// The records are not with whom this delivery was made to any more.
    case leaseLost
    /// Nor ever will be: the record at this offset is a dead letter by now.
    case deadLetter(offset: Int64)
    /// A group that has so many dead letters is not deleted.
    case lettersLeft(Int)
    /// Nor is one whose dead letter topic lacks so many entries: they come soon.
    case entriesLeft(Int)
    case unknownLetter
    /// The dead letter is with the group again.
    case replaying
    /// It was sent again too often.
    case quarantined(replays: UInt16)
    /// The dead letter topic does not have it yet.
    case notStored
    /// Records that are not in the log, and never will be or were.
    case outsideLog(String)
    /// The record is not set aside.
    case notParked
    case unknownTopic
    case unknownPartition
    case limitReached(String)
    case invalid(field: String, reason: String)
}
