import MartletConfiguration
package import MartletStorage

/// Topic settings in their two spellings: as people write them, with the names and units of the
/// configuration's `[topic]` (`retention.time` = `7d`), and canonical (`retention.ms` =
/// `604800000`), as storage keeps and replies show them. Requests may use either.
package enum TopicSettingText {
    /// Name in the configuration and canonical name of each setting, where they differ.
    private static let names = [
        "cleanup": "cleanup.policy",
        "retention.time": "retention.ms",
        "segment.time": "segment.ms",
        "event.time.future.max": "event.time.future.max.ms",
        "tombstone.retention": "tombstone.retention.ms",
        "compaction.lag": "compaction.lag.ms",
        "deduplication.window": "deduplication.window.ms",
    ]

    /// The name that the configuration has for a canonical one.
    package static func configured(_ canonical: String) -> String {
        names.first { $0.value == canonical }?.key ?? canonical
    }

    /// The canonical name and text of a setting from a request. What neither spelling knows is
    /// passed on as it is: storage refuses it and names what there is.
    /// - Throws: `invalidSetting` with the key and what it takes.
    package static func canonical(
        _ key: String, _ value: String?
    ) throws(StorageError) -> (key: String, value: String?) {
        let name = names[key] ?? key
        // `retention.ms` and its like are canonical only: no unit to read.
        let isCanonical = names.values.contains(key)
        guard let value, !isCanonical, let setting = setting(key) else { return (name, value) }
        var configuration = BrokerConfiguration()
        do throws(UnitError) {
            try setting.apply(value, to: &configuration)
        } catch {
            throw StorageError(.invalidSetting, "\(key): \(error)")
        }
        return (name, try TopicSettings(configuration.topic).value(of: name) ?? value)
    }

    private static func setting(_ name: String) -> ConfigurationKey? {
        BrokerConfiguration.sections.first { $0.name == "topic" }?
            .keys.first { $0.name == name }
    }
}
