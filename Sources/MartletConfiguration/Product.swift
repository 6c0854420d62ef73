/// What this build calls itself.
package enum Product {
    /// Of the whole package: daemon, command line and client library have one.
    package static let version = "0.1.0"
}
