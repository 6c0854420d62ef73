/// The head of an HTTP/1.1 request, as much of it as the admin endpoint wants to know.
struct HTTPRequest: Equatable {
    enum Method: String {
        case get = "GET"
        case head = "HEAD"
    }

    let method: Method
    /// Without the query.
    let path: String

    /// What is wrong with a request, as the status of its answer.
    enum Problem: Error, Equatable {
        case malformed
        case methodNotAllowed
        case bodyNotAllowed
        case versionNotSupported

        var status: Int {
            switch self {
            case .malformed: 400
            case .methodNotAllowed: 405
            case .bodyNotAllowed: 413
            case .versionNotSupported: 505
            }
        }
    }

    /// Where the head ends (behind its empty line) in `bytes`; nil while it is not whole.
    static func headEnd(in bytes: [UInt8]) -> Int? {
        let newline = UInt8(ascii: "\n")
        let carriage = UInt8(ascii: "\r")
        var lineStart = 0
        for (index, byte) in bytes.enumerated() where byte == newline {
            let line = bytes[lineStart..<index]
            if line.isEmpty || line.elementsEqual([carriage]) { return index + 1 }
            lineStart = index + 1
        }
        return nil
    }

    /// Reads a whole head. Only what a scraper or a probe sends is allowed: no body, no other
    /// method.
    init(head: ArraySlice<UInt8>) throws(Problem) {
        guard let text = String(validating: head, as: UTF8.self) else { throw .malformed }
        let lines = text.split(whereSeparator: \.isNewline)
        let parts = lines.first?.split(separator: " ", omittingEmptySubsequences: false) ?? []
        guard parts.count == 3, parts[1].hasPrefix("/"), parts[2].hasPrefix("HTTP/") else {
            throw .malformed
        }
        guard parts[2] == "HTTP/1.1" || parts[2] == "HTTP/1.0" else { throw .versionNotSupported }
        guard let method = Method(rawValue: String(parts[0])) else { throw .methodNotAllowed }
        for line in lines.dropFirst() {
            let header = line.split(separator: ":", maxSplits: 1)
            guard header.count == 2 else { throw .malformed }
            let name = header[0].lowercased()
            let value = header[1].filter { $0 != " " && $0 != "\t" }
            if name == "transfer-encoding" { throw .bodyNotAllowed }
            if name == "content-length", value != "0" { throw .bodyNotAllowed }
        }
        self.method = method
        path = String(parts[1].prefix { $0 != "?" })
    }
}

/// An answer of the admin endpoint. The connection closes behind it.
struct HTTPResponse: Equatable {
    let status: Int
    let contentType: String
    let body: String

    init(_ status: Int, _ body: String, contentType: String = "text/plain; charset=utf-8") {
        self.status = status
        self.body = body
        self.contentType = contentType
    }

    /// `HEAD` gets the head of what `GET` would get.
    func bytes(withBody: Bool) -> [UInt8] {
        var head = "HTTP/1.1 \(status) \(reason)\r\n"
        head += "Content-Type: \(contentType)\r\nContent-Length: \(body.utf8.count)\r\n"
        head += "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
        if status == 405 { head += "Allow: GET, HEAD\r\n" }
        head += "Connection: close\r\n\r\n"
        return Array(head.utf8) + (withBody ? Array(body.utf8) : [])
    }

    private var reason: String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 413: "Content Too Large"
        case 431: "Request Header Fields Too Large"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Error"
        }
    }
}
