@testable import MartletBroker
import MartletConfiguration
import MartletJSON

/// JSON. Oracle: what parses is written, compact and pretty, as text that parses to the same value.
enum JSONTarget: FuzzTarget {
    static let name = "json"

    static func run(_ input: [UInt8]) {
        let limits = JSONLimits(depth: 32, bytes: 1 << 20, values: 10_000)
        do {
            let value = try JSONValue(parsing: input, limits: limits)
            for style in [JSONWriter.Style.compact, .pretty] {
                let text = JSONWriter.bytes(value, style: style)
                do {
                    let again = try JSONValue(parsing: text)
                    require(again == value, "reads as \(again), was \(value)")
                    require(JSONWriter.bytes(again, style: style) == text, "writes differently")
                } catch {
                    require(false, "\(error) in what was written")
                }
            }
        } catch {
            require(error.offset <= input.count, "an error behind the end")
            require(error.line >= 1 && error.column >= 1, "an error nowhere")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        [
            ("object", #"{"a":[1,-2.5e3,true,false,null],"b":{"c":"\u00e9\ud83d\ude00\n"}}"#),
            ("numbers", "[0,-0,9223372036854775807,18446744073709551615,1e308,5e-324,0.1]"),
            ("pretty", "{\n  \"key\": [\n    \"value\"\n  ]\n}\n"),
            ("deep", String(repeating: "[", count: 33)),
            ("twice", #"{"k":1,"k":2}"#), ("lone", #""\ud800""#),
            ("marks", "\"\u{202E}\u{2028}\u{7F}\u{85}\""),
        ].map { ($0.0, Array($0.1.utf8)) }
    }
}

/// Numbers with units and addresses, as configuration and flags take them. Input: the text.
///
/// Oracle: the canonical text of what was read reads as the same.
enum UnitsTarget: FuzzTarget {
    static let name = "units"

    static func run(_ input: [UInt8]) {
        let text = String(decoding: input, as: UTF8.self)
        again(text, Units.bytes, { Units.format(bytes: $0) })
        again(text, Units.milliseconds, { Units.format(milliseconds: $0) }, orNegative: true)
        again(text, Units.perSecond, { Units.format(perSecond: $0) })
        again(text, Units.integer, { String($0) })
        again(text, HostPort.init(parsing:), { $0.description })
        if let address = try? HostPort(parsing: text) { _ = address.isLoopback }
        let near = NearestName.find(text, in: ["listen", "segment.bytes", "retention.ms"])
        require(near == nil || text.utf8.count <= 64, "near to a long text")
    }

    private static func again<Value: Equatable>(
        _ text: String, _ read: (String) throws(UnitError) -> Value, _ write: (Value) -> String,
        orNegative: Bool = false
    ) {
        do {
            let value = try read(text)
            if orNegative, write(value).hasPrefix("-1") { return }  // for ever has its own word
            do {
                require(try read(write(value)) == value, "\(text) as \(write(value))")
            } catch {
                require(false, "\(text): \(error) in \(write(value))")
            }
        } catch {
            require(isOneLine(error.description), "several lines: \(error)")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        [
            "64MiB", "1536 KiB", "30s", "250ms", "7d", "-1", "200/s", "0", "127.0.0.1:7700",
            "[::1]:0", "broker.example:65535", "9223372036854775807", "forever", "-0s",
        ].map { ($0.map { $0.isLetter || $0.isNumber ? String($0) : "_" }.joined(), Array($0.utf8)) }
    }
}

/// No control character that could break a log line or move a terminal's cursor.
func isOneLine(_ text: String) -> Bool {
    !text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }
}

/// The head of a request to the admin endpoint. Input: what arrives on the connection.
///
/// Oracle: the end of the head is behind an empty line; a path that is taken begins with a slash.
enum HTTPTarget: FuzzTarget {
    static let name = "http"

    static func run(_ input: [UInt8]) {
        guard let end = HTTPRequest.headEnd(in: input) else { return }
        require(end <= input.count && input[end - 1] == UInt8(ascii: "\n"), "the head ends oddly")
        require(HTTPRequest.headEnd(in: Array(input[..<end])) == end, "ends elsewhere when cut")
        do {
            let request = try HTTPRequest(head: input[..<end])
            require(request.path.hasPrefix("/"), "the path \(request.path)")
            require(!request.path.contains(" "), "the path \(request.path)")
            let answer = HTTPResponse(404, request.path).bytes(withBody: request.method == .get)
            require(answer.count > 40, "an answer without a head")
        } catch {
            require((400...505).contains(error.status), "status \(error.status)")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        [
            ("metrics", "GET /metrics HTTP/1.1\r\nHost: localhost:7701\r\nAccept: */*\r\n\r\n"),
            ("ready", "HEAD /readyz?verbose HTTP/1.0\n\n"),
            ("post", "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"),
            ("chunked", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("old", "GET /\r\n\r\n"), ("folded", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
        ].map { ($0.0, Array($0.1.utf8)) }
    }
}
