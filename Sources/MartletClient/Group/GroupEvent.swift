/// What happens to a member of a group beside its records.
///
/// Each partition that is told as `assigned` is told once more: as `revoked`, or as `lost`. What is
/// taken back before it could be read is told in neither way.
public enum GroupEvent: Sendable {
    /// The member is in the group, under this id (32 hexadecimal digits).
    case joined(member: String)
    /// The partitions are the member's, and are read from now on.
    case assigned([TopicPartition])
    /// The partitions were finished, committed and given up.
    case revoked([TopicPartition])
    /// Time ran out to finish what is in hand of the partition: others may read it from now on, and
    /// what is not committed yet may be handled twice. It is given up all the same.
    case drainTimedOut(TopicPartition)
    /// The partitions were taken from the member: others may read what it was handed.
    case lost([TopicPartition], MartletError)
    /// The group took the member for dead or stuck; it joins again as a new one.
    case fenced(MartletError)
    /// The group never committed there (`from` is nil), or that offset is gone or lost; the reset
    /// policy chose another.
    case reset(TopicPartition, from: Int64?, to: Int64)
    /// A commit was refused; the records behind it may be handed out a second time.
    case commitFailed([TopicPartition], MartletError)
    /// A handler failed for good, and the group's policy set the record aside until somebody releases
    /// it; `withKey`: later records of its key wait behind it.
    case parked(TopicPartition, offset: Int64, withKey: Bool)
    /// So much of the partition waits behind parked records that a commit could not say more: the
    /// group stands still there. Release them, then resume it.
    case tooManyParked(TopicPartition)
    /// Something happened to the group as a whole.
    case news(GroupNews)
    /// The connection to the group broke; it is made again until the deadline.
    case disconnected(MartletError)
    /// The connection to the group is back.
    case reconnected
    /// What happens to the part that reads; never `reset`.
    case reading(ConsumerEvent)
}

/// What happens to a member of a group; ends when its consumer is closed.
public struct GroupEvents: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = GroupEvent
    /// It never throws.
    public typealias Failure = Never

    let buffer: EventBuffer<GroupEvent>

    /// Reads one event after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let buffer: EventBuffer<GroupEvent>

        /// Waits for the next event.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the event; nil when the consumer is closed or the task cancelled.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(Never) -> GroupEvent? {
            await buffer.next(isolation: actor)
        }
    }

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(buffer: buffer) }
}
