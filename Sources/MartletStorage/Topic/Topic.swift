package import MartletFormat
import Synchronization

/// A topic as the broker sees it: its metadata and its partitions.
package final class Topic: Sendable {
    private struct State {
        var metadata: TopicMetadata
        var settings: TopicSettings
        var partitions: [PartitionLog]
        var offline: OfflineReason?
    }

    package let id: TopicID
    package let name: String
    /// False when its metadata cannot be read: the name is only its id.
    let hasName: Bool
    private let state: Mutex<State>

    init(
        _ metadata: TopicMetadata, settings: TopicSettings, partitions: [PartitionLog],
        offline: OfflineReason? = nil, hasName: Bool = true
    ) {
        self.hasName = hasName
        id = metadata.id
        name = metadata.name
        state = Mutex(
            State(
                metadata: metadata, settings: settings, partitions: partitions, offline: offline))
    }

    package var isInternal: Bool { name.hasPrefix(TopicMetadata.reservedPrefix) }
    package var metadata: TopicMetadata { state.withLock { $0.metadata } }
    package var settings: TopicSettings { state.withLock { $0.settings } }
    package var partitions: [PartitionLog] { state.withLock { $0.partitions } }
    package var partitionCount: Int32 { state.withLock { $0.metadata.partitions } }
    /// Why the topic cannot be served; nil when it can.
    package var offlineReason: OfflineReason? { state.withLock { $0.offline } }
    package var isOnline: Bool { offlineReason == nil }

    package func partition(_ index: Int32) -> PartitionLog? {
        state.withLock { state in
            let position = Int(index)
            guard state.partitions.indices.contains(position) else { return nil }
            return state.partitions[position]
        }
    }

    func update(_ metadata: TopicMetadata, _ settings: TopicSettings, adding: [PartitionLog] = []) {
        state.withLock { state in
            state.metadata = metadata
            state.settings = settings
            state.partitions += adding
        }
    }

    func goOffline(_ reason: OfflineReason) {
        let partitions = state.withLock { state in
            state.offline = reason
            return state.partitions
        }
        for partition in partitions { partition.goOffline(reason) }
    }

    /// Where the value of a setting comes from.
    package func source(of key: String, brokerSets: Set<String>) -> SettingSource {
        if metadata.overrides[key] != nil { return .topic }
        return brokerSets.contains(key) ? .broker : .builtIn
    }
}
