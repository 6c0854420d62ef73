import MartletJSON

enum JSONText {
    static func text(_ value: JSONValue) -> String { JSONWriter.text(value) }
}
