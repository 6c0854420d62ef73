/// The repository that the tests were built from.
package enum Repository {
    /// Path of its folder.
    package static let root: String =
        // <root>/Tests/Support/Repository.swift
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        .joined(separator: "/")
}
