import MartletClient
import MartletConfiguration
import MartletJSON
import MartletWire

/// An error code that the tool may print: one that brokers answer with, or one of the client's own.
struct KnownError {
    let name: String
    /// On the wire; nil: it never is.
    let number: UInt16?
    let isRetriable: Bool
    let outcome: ErrorOutcome
    let closesConnection: Bool
    let text: String

    /// Those of brokers in order of their numbers, then those of the client.
    static let all: [KnownError] =
        ErrorCode.allCases.filter { $0 != .none }.map(KnownError.init)
        + ClientErrorCode.allCases.map(KnownError.init)

    private init(_ code: ErrorCode) {
        name = code.name
        number = code.rawValue
        isRetriable = code.isRetriable
        outcome = code.outcome
        closesConnection = code.closesConnection
        text = code.text
    }

    private init(_ code: ClientErrorCode) {
        name = code.name
        number = nil
        isRetriable = code.isRetriable
        outcome = code.outcome
        closesConnection = false
        text = code.text
    }

    /// The one of a name, in any case, or of a number.
    init(named word: String) throws {
        let upper = word.uppercased()
        let number = UInt16(word)
        guard
            let known = Self.all.first(where: {
                $0.name == upper || $0.number.map { $0 == number } == true
            })
        else {
            let hint = NearestName.suggestion(for: upper, in: Self.all.map(\.name))
            throw ToolError(.notFound, "there is no error code '\(word)'\(hint)")
        }
        self = known
    }

    var json: JSONValue {
        [
            "code": .string(name), "number": number.map { JSONValue($0) } ?? .null,
            "isRetriable": .boolean(isRetriable), "records": .string(outcome.rawValue),
            "closesConnection": .boolean(closesConnection), "text": .string(text),
        ]
    }
}
