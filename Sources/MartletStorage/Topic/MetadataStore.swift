import MartletFormat
import MartletSystem

/// Where topic metadata lives. Local directories now; a quorum service when there is more than one
/// machine (design: growing past one machine).
protocol MetadataStore: Sendable {
    /// Everything that is there, readable or not.
    func load() throws(StorageError) -> [StoredTopic]
    /// Makes a topic that will be there after a crash, or not at all.
    func create(_ metadata: TopicMetadata) throws(StorageError)
    /// Makes places for partitions that the metadata does not speak of yet.
    func makePartitions(of metadata: TopicMetadata) throws(StorageError)
    func update(_ metadata: TopicMetadata) throws(StorageError)
    /// After it returns the topic will not come back. Its files go later.
    /// - Throws: `diskFull` when there is no room for its other name: it is there as before.
    func delete(_ id: TopicID, at milliseconds: Int64) throws(StorageError)
    /// Takes away a topic that was just made and has no records. Needs no space.
    func withdraw(_ id: TopicID) throws(StorageError)
    /// Removes the files of deleted topics.
    func removeDeleted() throws(StorageError)
}

enum StoredTopic: Sendable {
    case topic(TopicMetadata)
    /// The metadata of this id cannot be read; its data is there and stays.
    case unreadable(TopicID, reason: String)
    /// A name that is not ours.
    case stranger(String)
}

/// What a directory below `topics` is by its name. Anything else is a stranger's, also when its name
/// is much like these: what is ours is removed without a question.
private enum TopicDirectoryName: Equatable {
    case topic(TopicID)
    case creating
    case deleted

    init?(_ name: String) {
        if let id = TopicID(name) {
            self = .topic(id)
            return
        }
        guard TopicID(name.prefix(Self.idLength)) != nil else { return nil }
        let rest = name.dropFirst(Self.idLength)
        if rest == DataDirectory.creatingSuffix {
            self = .creating
        } else if rest.hasPrefix(DataDirectory.deletedInfix),
            Int64(rest.dropFirst(DataDirectory.deletedInfix.count)) != nil
        {
            self = .deleted
        } else {
            return nil
        }
    }

    private static let idLength = 32
}

/// Topics as directories below `topics`, each with its own `topic.meta`: there is no list to lose.
struct DirectoryMetadataStore: MetadataStore {
    let directory: DataDirectory
    /// Open for good: making and deleting a topic must not fail half-way for want of a descriptor.
    private let topics: any OpenDirectory
    private static let metaName = "topic.meta"
    private static let metaBytesMax = 64 << 20

    private var fileSystem: any FileSystem { directory.fileSystem }

    init(directory: DataDirectory) throws(StorageError) {
        self.directory = directory
        topics = try directory.fileSystem.directory(directory.topics)
    }

    /// The ids that have a directory, readable or not.
    func identifiers() throws(StorageError) -> [TopicID] {
        try storage("listing \(directory.topics)") { () throws(SystemError) in
            try fileSystem.list(directory.topics).compactMap { TopicID($0) }
        }
    }

    /// After an unclean stop what the directories show may be in the cache only (`kill -9` between a
    /// rename and its sync): it is brought to disk before anything is built on it.
    func settle() throws(StorageError) {
        let ids = try identifiers()
        try storageFatal("syncing \(directory.topics)") { () throws(SystemError) in
            try topics.sync()
            for id in ids { try fileSystem.syncDirectory(directory.topic(id)) }
        }
    }

    func load() throws(StorageError) -> [StoredTopic] {
        let names = try storage("listing \(directory.topics)") { () throws(SystemError) in
            try fileSystem.list(directory.topics)
        }
        var result: [StoredTopic] = []
        for name in names {
            switch TopicDirectoryName(name) {
            case .topic(let id): result.append(read(id))
            case .creating: try remove("\(directory.topics)/\(name)")
            case .deleted: continue  // `removeDeleted` takes it
            case nil: result.append(.stranger("\(directory.topics)/\(name)"))
            }
        }
        return result
    }

    private func read(_ id: TopicID) -> StoredTopic {
        let path = "\(directory.topic(id))/\(Self.metaName)"
        do {
            let bytes = try storage("reading \(path)") { () throws(SystemError) in
                try fileSystem.contents(of: path, atMost: Self.metaBytesMax)
            }
            let metadata = try TopicMetadataText.decode(bytes)
            guard metadata.id == id else {
                return .unreadable(id, reason: "\(path) is of topic id \(metadata.id)")
            }
            return .topic(metadata)
        } catch {
            return .unreadable(id, reason: "\(path): \(error.message)")
        }
    }

    func create(_ metadata: TopicMetadata) throws(StorageError) {
        let final = directory.topic(metadata.id)
        let making = final + DataDirectory.creatingSuffix
        do throws(StorageError) {
            try fill(making, metadata)
            try storageNaming("making topic \(metadata.name)") { () throws(SystemError) in
                try fileSystem.rename(making, to: final)
            }
        } catch {
            // On a full disk each try would take more of it.
            if !error.isFatal { removeOrLeave(making) }
            throw error
        }
        try storageFatal("making topic \(metadata.name)") { () throws(SystemError) in
            try topics.sync()
        }
    }

    private func fill(_ making: String, _ metadata: TopicMetadata) throws(StorageError) {
        try storage("making topic \(metadata.name)") { () throws(SystemError) in
            try fileSystem.makeDirectory(making)
            for partition in 0..<metadata.partitions {
                try fileSystem.makeDirectory("\(making)/\(partition)")
            }
        }
        try fileSystem.replace(
            "\(making)/\(Self.metaName)", with: TopicMetadataText.encode(metadata), in: making)
    }

    private func removeOrLeave(_ making: String) {
        do throws(StorageError) {
            try remove(making)
        } catch {
            // The next start removes it.
        }
    }

    func makePartitions(of metadata: TopicMetadata) throws(StorageError) {
        let home = directory.topic(metadata.id)
        let open = try fileSystem.directory(home)
        try storage("changing topic \(metadata.name)") { () throws(SystemError) in
            for partition in 0..<metadata.partitions {
                let path = "\(home)/\(partition)"
                if try fileSystem.status(path) == nil { try fileSystem.makeDirectory(path) }
            }
        }
        try storageFatal("syncing \(home)") { () throws(SystemError) in
            try open.sync()
        }
    }

    func update(_ metadata: TopicMetadata) throws(StorageError) {
        // A directory is on disk before the metadata speaks of it.
        try makePartitions(of: metadata)
        let home = directory.topic(metadata.id)
        try fileSystem.replace(
            "\(home)/\(Self.metaName)", with: TopicMetadataText.encode(metadata), in: home)
    }

    func delete(_ id: TopicID, at milliseconds: Int64) throws(StorageError) {
        let home = directory.topic(id)
        try storageNaming("deleting topic \(id)") { () throws(SystemError) in
            try fileSystem.rename(
                home, to: "\(home)\(DataDirectory.deletedInfix)\(milliseconds)")
        }
        try storageFatal("deleting topic \(id)") { () throws(SystemError) in
            try topics.sync()
        }
    }

    func withdraw(_ id: TopicID) throws(StorageError) {
        try remove(directory.topic(id))
        try storageFatal("withdrawing topic \(id)") { () throws(SystemError) in
            try topics.sync()
        }
    }

    func removeDeleted() throws(StorageError) {
        let names = try storage("listing \(directory.topics)") { () throws(SystemError) in
            try fileSystem.list(directory.topics)
        }
        var failure: StorageError?
        for name in names where TopicDirectoryName(name) == .deleted {
            do throws(StorageError) {
                try remove("\(directory.topics)/\(name)")
            } catch {
                // The space of the others is not to wait for this one.
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Removes a topic's directory: partitions, their files, the metadata. Two levels, no recursion.
    private func remove(_ home: String) throws(StorageError) {
        try storage("removing \(home)") { () throws(SystemError) in
            for entry in try fileSystem.list(home) {
                let path = "\(home)/\(entry)"
                guard try fileSystem.status(path)?.kind == .directory else {
                    try fileSystem.removeFile(path)
                    continue
                }
                for file in try fileSystem.list(path) {
                    try fileSystem.removeFile("\(path)/\(file)")
                }
                try fileSystem.removeDirectory(path)
            }
            try fileSystem.removeDirectory(home)
        }
    }
}
