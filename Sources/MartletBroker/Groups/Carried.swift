/// What the first step of a shard's command has for the second.
// Sendable: touched only by these two, which run one after the other under the lock of their shard.
final class Carried<Value: Sendable>: @unchecked Sendable {
    var value: Value

    init(_ value: Value) {
        self.value = value
    }
}
