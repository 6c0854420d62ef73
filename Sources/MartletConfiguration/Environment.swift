@unsafe @preconcurrency import Glibc

/// The process's environment as a value.
package enum Environment {
    /// A copy. Variables that are not valid UTF-8 are left out; of a name that comes twice, the
    /// first counts, as for `getenv`.
    package static func current() -> [String: String] {
        var result: [String: String] = [:]
        var cursor = unsafe environ
        while let entry = unsafe cursor.pointee {
            if let text = unsafe String(validatingCString: entry),
                let equals = text.firstIndex(of: "=")
            {
                let name = String(text[..<equals])
                if result[name] == nil { result[name] = String(text[text.index(after: equals)...]) }
            }
            unsafe cursor += 1
        }
        return result
    }
}
