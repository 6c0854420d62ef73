/// What groups still need of a topic.
extension Coordinator {
    /// Up to where all groups have handled a partition that records wait in for them, and the one
    /// that is furthest behind; nil: there is no such group.
    package func lowMark(_ key: TopicPartition) -> (offset: Int64, group: String)? {
        var low: (offset: Int64, group: String)?
        for (name, group) in groups {
            // Before topics are known any of them may be meant.
            if let topic = topics[key.topic], !group.state.isWaited(for: topic) { continue }
            // What lies there before it begins is not for it.
            if group.state.beginsAtEnd(key) { continue }
            let offset = group.state.lowMark(key)
            if low.map({ (offset, name) < ($0.offset, $0.group) }) ?? true {
                low = (offset, name)
            }
        }
        return low
    }
}

extension GroupState {
    /// Whether records of the topic wait for the group: its members want them, or those who were,
    /// or the group has been there. One of which nothing of this is known may want any topic.
    func isWaited(for topic: TopicShape) -> Bool {
        if members.isEmpty, departed.terms.isEmpty, partitions.isEmpty, queues.isEmpty {
            return true
        }
        return wants(topic.name) || keys.contains { $0.topic == topic.id }
    }

    /// Whether the group is to begin in the partition with what comes after its first look.
    func beginsAtEnd(_ key: TopicPartition) -> Bool {
        switch kind {
        case .stream, .queue(.earliest, _): false
        case .queue(.latest, _): queues[.flow(key)] == nil && key != letters.topic
        }
    }

    /// Everything below is handled: what is committed, or, of a queue, settled; and nothing of it
    /// was sent again. Dead letters are not, also while nobody sends them again.
    fileprivate func lowMark(_ key: TopicPartition) -> Int64 {
        let replayed = queues[.replay(key)]?.floor
        if key == letters.topic { return letters.letters.isEmpty ? replayed ?? 0 : 0 }
        let flow =
            switch kind {
            case .stream: partitions[key]?.committed?.offset ?? 0
            case .queue: queues[.flow(key)]?.floor ?? 0
            }
        return min(flow, replayed ?? flow)
    }
}
