import Glibc

/// The environment variables of this process, as it was started.
package enum ProcessEnvironment {
    /// The value of a variable; nil when it is not set or not UTF-8.
    package static func value(_ name: String) -> String? {
        guard let text = unsafe getenv(name) else { return nil }
        return unsafe String(validatingCString: text)
    }
}

/// How many processors can be used.
package enum ProcessorCount {
    /// Processors that are online, at least 1.
    package static var online: Int { max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }
}
