/// What a run has shown, as the status it exits with.
enum Judgement: Int32 {
    case passed = 0
    case failed = 1
    /// Too little happened to say so.
    case inconclusive = 2

    init(isViolated: Bool, isConclusive: Bool) {
        self = isViolated ? .failed : isConclusive ? .passed : .inconclusive
    }

    /// The last line of each summary.
    var word: String {
        switch self {
        case .passed: "PASSED"
        case .failed: "FAILED"
        case .inconclusive: "INCONCLUSIVE"
        }
    }
}

/// What is said of a whole run.
protocol Verdict {
    var judgement: Judgement { get }
    var summary: String { get }
}

/// What came of one part of a run.
protocol PartialResult {
    var isViolated: Bool { get }
    var isConclusive: Bool { get }
    var summary: [String] { get }
}

/// All parts together: one that is violated fails them, and each has to show something.
struct CombinedVerdict<Part: PartialResult>: Verdict {
    let heading: String
    let parts: [Part]

    var judgement: Judgement {
        Judgement(
            isViolated: parts.contains(where: \.isViolated),
            isConclusive: !parts.isEmpty && parts.allSatisfy(\.isConclusive))
    }

    var summary: String {
        ([heading] + parts.flatMap(\.summary) + [judgement.word]).joined(separator: "\n")
    }
}
