import Glibc
import MartletClient

/// The program behind `scripts/demo`. Its first argument says what it is:
///
///     flights stream TOPIC SECONDS CSV AIRLINES HALF-FILE   sends, reads along, checks: the first act
///     flights board  TOPIC FOLDER NAME                      a member of the group `board`
///     flights notify TOPIC FOLDER NAME                      a member of the queue group `notify`
///     flights check  TOPIC CSV FOLDER                       what the groups did: the second act
@main
struct Main {
    static func main() async {
        do {
            exit(try await run(Array(CommandLine.arguments.dropFirst())) ? 0 : 1)
        } catch {
            Screen().write("the demo failed: \(error)")
            exit(1)
        }
    }

    private static func run(_ arguments: [String]) async throws -> Bool {
        let rest = Array(arguments.dropFirst())
        switch (arguments.first, rest.count) {
        case ("stream", 5): return try await FirstAct(rest).run()
        case ("board", 3): try await Member(rest).board()
        case ("notify", 3): try await Member(rest).notify()
        case ("check", 3): return try await GroupsCheck(rest).run()
        case (_, _):
            Screen().write("usage: flights stream|board|notify|check ... (see scripts/demo)")
            exit(2)
        }
        return true
    }
}
