import MartletClient
import MartletSystem

/// The topic of one measurement: made for it, and deleted however it ends.
enum BenchTopic {
    static func with<Result>(
        _ plan: BenchPlan, _ client: MartletClient, _ body: (String) async throws -> Result
    ) async throws -> Result {
        let random = String(try SecureRandom.uint64(), radix: 36)
        let name = "bench-\(plan.kind.rawValue)-\(random)"
        _ = try await client.admin.createTopic(
            name, partitions: plan.partitions, settings: ["durability": plan.durability])
        do {
            let result = try await body(name)
            if !plan.keepsTopic { try await client.admin.deleteTopic(name) }
            return result
        } catch {
            if !plan.keepsTopic { await deleteAnyway(name, client) }
            throw error
        }
    }

    /// Also when the task is cancelled by Ctrl-C: so a task of its own.
    private static func deleteAnyway(_ name: String, _ client: MartletClient) async {
        let admin = client.admin
        let task = Task {
            do {
                try await admin.deleteTopic(name)
            } catch {
                // The error that brought us here says more.
            }
        }
        await task.value
    }
}
