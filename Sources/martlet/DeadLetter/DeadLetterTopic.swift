import MartletClient

/// The topic of a group's dead letters. It outlives the group.
enum DeadLetterTopic {
    /// nil: there is none, because nothing of the group ever died, or somebody deleted it.
    static func name(of group: String, _ admin: AdminClient) async throws -> String? {
        let name = DeadLetterEntry.topic(of: group)
        return try await admin.listTopics().contains { $0.name == name } ? name : nil
    }
}
