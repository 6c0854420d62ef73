import Glibc
import MartletSystem
import MartletTestSupport

/// The built programs.
enum Programs {
    static let daemon = folder + "/martletd"
    static let tool = folder + "/martlet"
    static let verify = folder + "/martlet-verify"
    static let powerCut = folder + "/martlet-powercut"
    static let allocations = folder + "/martlet-allocations"
    static let limits = "/usr/bin/prlimit"

    static let powerCutSource = faults + "/powercut.c"
    static let allocationsSource = faults + "/allocations.c"

    /// `Tests/Faults` of this repository.
    private static let faults = Repository.root + "/Tests/Faults"

    /// Whether it is the release build that is tested.
    static let areOptimized = folder.hasSuffix("/release")

    static let folder = BuiltPrograms.folder

    static var environment: [String: String] { BuiltPrograms.environment }

    /// Runs a program to its end. After `seconds` it is given up; nothing is said about speed.
    static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        seconds: Int = 60
    ) throws -> Finished {
        let child = try ChildProcess(
            program, arguments, environment: Self.environment.merging(environment) { $1 })
        child.closeInput()
        let ending = child.wait(seconds: seconds)
        return Finished(ending: ending, output: child.output, errors: child.errorOutput)
    }

    struct Finished {
        /// nil: it had to be given up.
        let ending: ChildProcess.Ending?
        let output: String
        let errors: String
    }
}
