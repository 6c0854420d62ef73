/// Who should own which partition: balanced, sticky, and the same for the same input.
///
/// Partitions stay where they are as long as no single move makes the loads more equal; when all
/// members want the same topics, loads differ by one at most. Each partition goes to exactly one
/// member that wants its topic, or to none when nobody does.
enum Assignor {
    static func assign(
        members: [MemberID: Member], topics: [TopicShape],
        current: (TopicPartition) -> MemberID?
    ) -> [TopicPartition: MemberID] {
        var plan = Plan(members: members, topics: topics)
        plan.keep(current)
        plan.place()
        plan.balance()
        return plan.result
    }

    /// Members and topics by number: members in order of their ids, partitions in order of topic
    /// and number, so that nothing depends on the order of a dictionary.
    private struct Plan {
        private let members: [MemberID]
        private let partitions: [TopicPartition]
        /// For each partition which members want it: one shared list for each topic.
        private let candidates: [[Int]]
        private let topicOf: [Int]
        private var owner: [Int?]
        private var held: [[Int]]

        init(members: [MemberID: Member], topics: [TopicShape]) {
            let ids = members.keys.sorted()
            let topics = topics.sorted { $0.id < $1.id }
            self.members = ids
            // Members mostly want the same: each wish is held against a topic once.
            let wishes = Dictionary(grouping: ids.indices) { members[ids[$0]]?.subscription }
            candidates = topics.map { topic in
                let wanting = wishes.filter { $0.key?.matches(topic.name) ?? false }
                return wanting.count == 1
                    ? wanting.values.flatMap(\.self) : wanting.values.flatMap(\.self).sorted()
            }
            var partitions: [TopicPartition] = []
            var topicOf: [Int] = []
            for (index, topic) in topics.enumerated() where !candidates[index].isEmpty {
                for number in 0..<max(topic.partitions, 0) {
                    partitions.append(TopicPartition(topic.id, number))
                    topicOf.append(index)
                }
            }
            self.partitions = partitions
            self.topicOf = topicOf
            owner = Array(repeating: nil, count: partitions.count)
            held = Array(repeating: [], count: ids.count)
        }

        /// Leaves everything with whom has it and still wants it.
        mutating func keep(_ current: (TopicPartition) -> MemberID?) {
            let numbers = Dictionary(
                uniqueKeysWithValues: members.enumerated().map { ($1, $0) })
            for (index, partition) in partitions.enumerated() {
                guard let id = current(partition), let member = numbers[id],
                    candidates[topicOf[index]].contains(sorted: member)
                else { continue }
                give(index, to: member)
            }
        }

        /// Gives what nobody has to those who have least.
        mutating func place() {
            for index in partitions.indices where owner[index] == nil {
                guard let member = leastLoaded(of: index) else { continue }
                give(index, to: member)
            }
        }

        /// Moves single partitions from those with most to those with least, as long as that makes
        /// the two more equal. Ends: each move lowers the sum of the squares of the loads.
        mutating func balance() {
            var settled = Set<Int>()
            while !isEven, let donor = mostLoaded(without: settled) {
                guard let move = bestMove(from: donor) else {
                    settled.insert(donor)
                    continue
                }
                held[donor].remove(at: move.place)
                give(move.partition, to: move.member)
                settled.removeAll(keepingCapacity: true)
            }
        }

        var result: [TopicPartition: MemberID] {
            var result: [TopicPartition: MemberID] = [:]
            result.reserveCapacity(partitions.count)
            for (index, partition) in partitions.enumerated() {
                if let member = owner[index] { result[partition] = members[member] }
            }
            return result
        }

        private mutating func give(_ index: Int, to member: Int) {
            owner[index] = member
            held[member].append(index)
        }

        private func leastLoaded(of index: Int) -> Int? {
            candidates[topicOf[index]].min { held[$0].count < held[$1].count }
        }

        /// No move makes loads more equal that differ by one at most.
        private var isEven: Bool {
            let loads = held.map(\.count)
            guard let most = loads.max(), let least = loads.min() else { return true }
            return most <= least + 1
        }

        private func mostLoaded(without settled: Set<Int>) -> Int? {
            members.indices.filter { !settled.contains($0) && held[$0].count > 1 }
                .max { held[$0].count < held[$1].count }
        }

        private func bestMove(
            from donor: Int
        ) -> (place: Int, partition: Int, member: Int)? {
            // One look for each topic: all partitions of a topic have the same candidates.
            var seen = Set<Int>()
            for (place, partition) in held[donor].enumerated().reversed() {
                guard seen.insert(topicOf[partition]).inserted,
                    let member = leastLoaded(of: partition),
                    held[member].count + 1 < held[donor].count
                else { continue }
                return (place, partition, member)
            }
            return nil
        }
    }
}

extension Array where Element == Int {
    /// Whether the sorted array has `value`.
    fileprivate func contains(sorted value: Int) -> Bool {
        var range = startIndex..<endIndex
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if self[middle] == value { return true }
            range =
                self[middle] < value
                ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
        }
        return false
    }
}
