/// Counts of things as messages of the broker have them: digits without separators.
package enum Counted {
    /// `1 record`, `2 records`.
    package static func text(_ value: some BinaryInteger, _ noun: String) -> String {
        "\(value) \(noun)\(value == 1 ? "" : "s")"
    }

    /// `1 topic is`, `2 topics are`: with the verb that belongs to it.
    package static func text(
        _ value: some BinaryInteger, _ noun: String, _ one: String, _ many: String
    ) -> String {
        "\(text(value, noun)) \(value == 1 ? one : many)"
    }
}
