import MartletConfiguration
import MartletJSON

/// What a command would do to a group: printed first, and given back to be done.
protocol GroupPlan {
    var group: String { get }

    /// A plan as it was printed in JSON.
    init(_ bytes: [UInt8]) throws
}

extension GroupPlan {
    /// The plan that `--plan` names; nil without one. It says all that the flags in `others` would.
    static func given(
        _ context: CommandContext, for group: String, insteadOf others: [String]
    ) async throws -> Self? {
        guard let path = context.invocation.value("plan") else { return nil }
        if let other = others.first(where: { context.invocation.has($0) }) {
            throw context.usage("--plan says it all: --\(other) does not go with it")
        }
        let plan = try Self(try await WholeInput.read(path))
        guard plan.group == group else {
            throw ToolError.usage("the plan is one for group '\(plan.group)', not for '\(group)'")
        }
        return plan
    }
}

/// A plan's JSON.
struct PlanDocument {
    let group: String
    /// One for each partition.
    let entries: [JSONValue]

    init(_ bytes: [UInt8]) throws {
        let document = try JSONValue(parsing: bytes)
        guard let group = document["group"]?.stringValue,
            let entries = document["plan"]?.arrayValue
        else { throw ToolError.usage("the plan has no 'group' or no 'plan'") }
        (self.group, self.entries) = (group, entries)
    }
}
