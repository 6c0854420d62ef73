package struct AssignDeadLettersRequest: WireRequest {
    package typealias Reply = AssignDeadLettersReply
    package static let operation = Operation.assignDeadLetters
    package static let purpose = "Says who is to look after dead letters; twice is once."

    package var group = ""
    package var author = ""
    package var assignee = ""
    package var letters: [DeadLetterNumber] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.string("author", &author, max: WireLimits.failureKindBytesMax, "who says so")
        try c.string(
            "assignee", &assignee, max: WireLimits.failureKindBytesMax, "who is to; empty: nobody")
        try c.array("letters", &letters, max: WireLimits.remarkedLettersMax, "which")
    }
}

package struct AssignDeadLettersReply: DeadLetterResults {
    package static let operation = Operation.assignDeadLetters
    package static let purpose = "One result per letter, in the request's order; durable."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.remarkedLettersMax, "one per letter")
    }
}

package struct CommentDeadLettersRequest: WireRequest {
    package typealias Reply = CommentDeadLettersReply
    package static let operation = Operation.commentDeadLetters
    package static let purpose = "Says something about dead letters; twice is twice."

    package var group = ""
    package var author = ""
    package var note = ""
    package var letters: [DeadLetterNumber] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.string("author", &author, max: WireLimits.failureKindBytesMax, "who says so")
        try c.string("note", &note, max: WireLimits.failureTextBytesMax, "what; not empty")
        try c.array("letters", &letters, max: WireLimits.remarkedLettersMax, "which")
    }
}

package struct CommentDeadLettersReply: DeadLetterResults {
    package static let operation = Operation.commentDeadLetters
    package static let purpose = "One result per letter, in the request's order; durable."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.remarkedLettersMax, "one per letter")
    }
}
