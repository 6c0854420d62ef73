/// Bugs on purpose, each of which a run must find: a checker that finds nothing proves nothing.
struct HistoryControls {
    private static let controls: [(plant: String, finds: Set<Findings.Invariant>)] = [
        ("acceptStaleMembers", [.staleCommit]),
        ("grantBeforeRelease", [.doubleOwner]),
        ("keepEpoch", [.doubleOwner]),
        ("leaseTwice", [.doubleLease]),
        ("commitTaken", [.commitAhead]),
        ("mixKeys", [.keyOrder]),
        ("loseDeadLetters", [.deadLetterLost]),
        ("dropDead", [.deadLetterLost]),
        ("grantWhilePaused", [.pausedGrant]),
        ("mixQueueKeys", [.queueKeyOrder]),
        ("replayInFlow", [.replayLost, .handledOnceAfterAck]),
        ("forgetRescue", [.rescued]),
        ("passParkedKeys", [.parkedOrder]),
    ]

    let options: Options

    /// Whether each was found.
    func run() async throws -> Bool {
        #if DEBUG
            var areFound = true
            for (plant, finds) in Self.controls {
                if try await !isFound(plant, finds) { areFound = false }
            }
            return areFound
        #else
            throw VerifyError("bugs can be planted in debug builds only")
        #endif
    }

    /// What needs a coincidence has more time for it in a second and a third try.
    private func isFound(_ plant: String, _ finds: Set<Findings.Invariant>) async throws -> Bool {
        var options = options
        for seconds in [5, 10, 20] {
            options.seconds = seconds
            options.seed += 1
            let verdict = try await History(options, plant: plant).run()
            let by = verdict.findings.violated.filter(finds.contains)
            if !by.isEmpty {
                Console.write(
                    "control \(plant): found by \(by.map(\.rawValue).joined(separator: ", ")) within \(seconds) s, seed \(options.seed)"
                )
                return true
            }
        }
        Console.write("control \(plant): NOT FOUND")
        return false
    }
}
