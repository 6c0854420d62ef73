import MartletFormat

/// The partitions that a group knows something of. A broker may have 100,000 of them and more, most in
/// groups that stand still, so what counts is how little each takes: a row in an array for each topic,
/// in order, with little room to spare. A dictionary would take twice as much for its empty places.
struct PartitionTable: Equatable, Sendable {
    private var topics: [TopicID: PartitionRows] = [:]

    var isEmpty: Bool { topics.isEmpty }
    var count: Int { topics.values.reduce(0) { $0 + $1.rows.count } }
    /// In no order.
    var keys: [TopicPartition] { map { $0.key } }

    subscript(key: TopicPartition) -> PartitionState? {
        get { topics[key.topic]?[key.partition] }
        set {
            if let newValue {
                topics[key.topic, default: PartitionRows()][key.partition] = newValue
            } else if topics[key.topic] != nil {
                topics[key.topic]?[key.partition] = nil
                if topics[key.topic]?.rows.isEmpty == true { topics[key.topic] = nil }
            }
        }
    }

    subscript(key: TopicPartition, default initial: PartitionState) -> PartitionState {
        get { self[key] ?? initial }
        set { self[key] = newValue }
    }
}

extension PartitionTable: Sequence {
    /// In no order of topics.
    func makeIterator() -> some IteratorProtocol<(key: TopicPartition, value: PartitionState)> {
        topics.lazy.flatMap { topic, partitions in
            partitions.rows.lazy.map { row in
                (key: TopicPartition(topic, row.partition), value: row.state)
            }
        }.makeIterator()
    }
}

/// Those of one topic.
struct PartitionRows: Equatable, Sendable {
    struct Row: Equatable, Sendable {
        var state: PartitionState
        /// Behind the state, where it takes what would be padding.
        let partition: Int32
    }

    /// By number.
    private(set) var rows: [Row] = []

    subscript(partition: Int32) -> PartitionState? {
        get {
            let place = place(of: partition)
            return has(partition, at: place) ? rows[place].state : nil
        }
        set {
            let place = place(of: partition)
            switch (newValue, has(partition, at: place)) {
            case (let state?, true): rows[place].state = state
            case (let state?, false):
                makeRoom()
                rows.insert(Row(state: state, partition: partition), at: place)
            case (nil, true): rows.remove(at: place)
            case (nil, false): break
            }
        }
    }

    private func has(_ partition: Int32, at place: Int) -> Bool {
        place < rows.count && rows[place].partition == partition
    }

    /// Where it is, or belongs.
    private func place(of partition: Int32) -> Int {
        var (low, high) = (0, rows.count)
        while low < high {
            let middle = low + (high - low) / 2
            if rows[middle].partition < partition { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// For a quarter more: by itself the array takes twice what it has.
    private mutating func makeRoom() {
        guard rows.count == rows.capacity else { return }
        rows.reserveCapacity(rows.count + rows.count / 4 + 1)
    }
}

/// A partition as a group has it.
struct PartitionState: Equatable, Sendable {
    // In an order that leaves no gaps: with its number it takes 64 bytes.
    var committed: CommittedOffset?
    /// Rises with each owner. Who has an older one has lost the partition.
    var epoch: Int32
    /// What is not committed below may be why an owner was lost; 0: nothing.
    var suspectBelow: Int64 = 0
    var owner: MemberID?
    /// Something that its owner has passed is to be read again: it gives the partition up, and gets
    /// it again under a new epoch.
    var isReturning = false

    init(owner: MemberID? = nil, epoch: Int32 = 0, committed: CommittedOffset? = nil) {
        self.owner = owner
        self.epoch = epoch
        self.committed = committed
    }

    mutating func clearSuspicion() {
        if suspectBelow <= committed?.offset ?? 0 { suspectBelow = 0 }
    }
}
