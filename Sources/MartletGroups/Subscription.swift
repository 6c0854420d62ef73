/// The topics that a member wants: names, and patterns in which `*` stands for any characters.
///
/// No topic has a `*` in its name, so the two cannot be confused. Topics of the broker itself
/// (names that begin with `$`) match no pattern, and dead letter topics only one that says so.
package struct Subscription: Hashable, Sendable {
    /// Sorted, each once.
    package private(set) var terms: [String]

    package init(_ terms: [String]) {
        self.terms = Set(terms).sorted()
    }

    var patternCount: Int { terms.count { $0.utf8.contains(Self.star) } }

    /// The terms that are names, and the others.
    var namesAndPatterns: (names: [String], patterns: Subscription) {
        var patterns = Subscription([])
        patterns.terms = terms.filter { $0.utf8.contains(Self.star) }
        return (terms.filter { !$0.utf8.contains(Self.star) }, patterns)
    }

    mutating func add(_ other: Subscription) {
        guard other.terms != terms, !other.terms.isEmpty else { return }
        terms = Set(terms).union(other.terms).sorted()
    }

    /// The same in parts of so many terms at most.
    func parts(_ count: Int) -> [Subscription] {
        stride(from: 0, to: terms.count, by: count).map { start in
            Subscription(Array(terms[start..<min(start + count, terms.count)]))
        }
    }

    func matches(_ topic: String) -> Bool {
        terms.contains { term in
            guard term.utf8.contains(Self.star) else { return term == topic }
            if topic.hasPrefix("$") { return false }
            if topic.hasSuffix(Coordinator.reservedSuffix),
                !term.hasSuffix(Coordinator.reservedSuffix)
            {
                return false
            }
            return Self.matches(Array(term.utf8), Array(topic.utf8))
        }
    }

    private static let star = UInt8(ascii: "*")

    /// The usual two-pointer match: on a mismatch the last `*` takes one byte more. Linear in
    /// practice, at worst the product of both lengths, which are limited.
    private static func matches(_ pattern: [UInt8], _ text: [UInt8]) -> Bool {
        var p = 0
        var t = 0
        var lastStar: (pattern: Int, text: Int)?
        while t < text.count {
            if p < pattern.count, pattern[p] == star {
                lastStar = (p, t)
                p += 1
            } else if p < pattern.count, pattern[p] == text[t] {
                p += 1
                t += 1
            } else if let star = lastStar {
                lastStar = (star.pattern, star.text + 1)
                p = star.pattern + 1
                t = star.text + 1
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == star }
    }
}
