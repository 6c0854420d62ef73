import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet bench disk`: what the disk and the loopback can do, to compare the broker with.
enum BenchDiskCommand {
    static let command: Command = Command(
        CommandSpec(
            "disk", "Measure appends with fdatasync, and the loopback.",
            discussion: [
                "bytesPerSecond: appends of 1 MiB to a growing file with an fdatasync each. "
                    + "syncsPerSecond4KiB: the same with 4 KiB. syncsPerSecond4KiBWritten: 4 KiB over "
                    + "space that was written before. pacedSync4KiB: 4 KiB appends at --rate, each timed "
                    + "from when it was due, as bench e2e does. The loopback figures are a plain TCP "
                    + "connection between two threads over 127.0.0.1."
            ],
            flags: [
                FlagSpec("data", value: "DIR", "Measure the disk that holds DIR; default '.'."),
                FlagSpec("seconds", value: "S", "Seconds for each of the measurements; 2."),
                FlagSpec("rate", value: "R", "Appends a second of the paced measurement; 1000."),
                CommonFlags.streamedOutput,
            ],
            examples: [
                ExampleSpec("martlet bench disk --data /var/lib/martlet -o json", "For a script")
            ])
    ) { context in
        let directory = context.invocation.value("data") ?? "."
        let seconds = try context.invocation.integer("seconds", in: 1...3600) ?? 2
        let wantsTable = context.format(elsewhere: .jsonl) == .table
        let rate = try context.invocation.integer("rate", in: 1...1_000_000) ?? 1_000
        let figures = try measure(directory, seconds, rate, context)
        if wantsTable {
            try context.output.write(figures.table.text())
        } else {
            try context.output.jsonLine(figures.json(directory, seconds, rate))
        }
    }

    private static func measure(
        _ directory: String, _ seconds: Int64, _ rate: Int64, _ context: CommandContext
    ) throws -> DiskFigures {
        let probe = DiskProbe(directory: directory, nanoseconds: seconds * 1_000_000_000)
        let loopback = LoopbackProbe(nanoseconds: seconds * 1_000_000_000)
        func tell(_ what: String) {
            if context.output.errorIsTerminal { context.output.message("measuring \(what)...") }
        }
        tell("1 MiB appends")
        let append = try probe.append(1 << 20)
        tell("4 KiB appends")
        let small = try probe.append(4096)
        tell("4 KiB over written space")
        let written = try probe.overwrite(4096, in: 64 << 20)
        tell("4 KiB appends, \(rate) a second")
        let paced = try probe.paced(4096, rate: rate)
        tell("the loopback")
        return DiskFigures(
            append: append, small: small, written: written, paced: paced,
            roundTrip: try loopback.roundTrips(),
            loopbackBytesPerSecond: try loopback.bytesPerSecond())
    }
}

/// So many operations of one size in so long a time.
struct ProbeFigures: Sendable {
    var operations: Int64 = 0
    var bytes: Int64 = 0
    var nanoseconds: Int64 = 0
    var latency = LatencyHistogram()

    var seconds: Double { Double(nanoseconds) / 1e9 }
    var operationsPerSecond: Double { nanoseconds > 0 ? Double(operations) / seconds : 0 }
    var bytesPerSecond: Double { nanoseconds > 0 ? Double(bytes) / seconds : 0 }
}

struct DiskFigures: Sendable {
    let append: ProbeFigures
    let small: ProbeFigures
    let written: ProbeFigures
    let paced: ProbeFigures
    let roundTrip: ProbeFigures
    let loopbackBytesPerSecond: Double

    var table: Table {
        var table = Table([
            .left("WHAT"), .right("PER SECOND"), .right("MEAN us"), .right("P99 us"),
        ])
        func row(_ name: String, _ rate: String, _ latency: LatencyHistogram) {
            table.add([
                name, rate, Shown.decimal(latency.mean / 1000, 1),
                Shown.decimal(Double(latency.percentile(0.99)) / 1000, 1),
            ])
        }
        func megabytes(_ rate: Double) -> String { "\(Shown.decimal(rate / 1e6, 1)) MB" }
        row("append 1 MiB + fdatasync", megabytes(append.bytesPerSecond), append.latency)
        row("append 4 KiB + fdatasync", Shown.decimal(small.operationsPerSecond, 0), small.latency)
        row(
            "4 KiB + fdatasync, written before", Shown.decimal(written.operationsPerSecond, 0),
            written.latency)
        row(
            "4 KiB + fdatasync, paced", Shown.decimal(paced.operationsPerSecond, 0), paced.latency)
        row(
            "loopback round trip", Shown.decimal(roundTrip.operationsPerSecond, 0),
            roundTrip.latency)
        table.add(["loopback one way", megabytes(loopbackBytesPerSecond), "", ""])
        return table
    }

    func json(_ directory: String, _ seconds: Int64, _ rate: Int64) -> JSONValue {
        func microseconds(_ nanoseconds: Double) -> JSONValue {
            .double((nanoseconds / 10).rounded() / 100)
        }
        func rounded(_ value: Double) -> JSONValue { .double((value * 10).rounded() / 10) }
        let small99 = Double(small.latency.percentile(0.99))
        let written99 = Double(written.latency.percentile(0.99))
        let paced50 = Double(paced.latency.percentile(0.5))
        let paced99 = Double(paced.latency.percentile(0.99))
        let trip99 = Double(roundTrip.latency.percentile(0.99))
        return [
            "bench": "disk",
            "records": JSONValue(append.operations), "bytes": JSONValue(append.bytes),
            "seconds": .double(append.seconds),
            "recordsPerSecond": rounded(append.operationsPerSecond),
            "bytesPerSecond": rounded(append.bytesPerSecond),
            "latencyMicroseconds": append.latency.json,
            "syncsPerSecond4KiB": rounded(small.operationsPerSecond),
            "syncsPerSecond4KiBWritten": rounded(written.operationsPerSecond),
            "sync4KiBMicroseconds": microseconds(small.latency.mean),
            "sync4KiBP50Microseconds": microseconds(Double(small.latency.percentile(0.5))),
            "sync4KiBP99Microseconds": microseconds(small99),
            "sync4KiBWrittenMicroseconds": microseconds(written.latency.mean),
            "sync4KiBWrittenP99Microseconds": microseconds(written99),
            "pacedSync4KiBP50Microseconds": microseconds(paced50),
            "pacedSync4KiBP99Microseconds": microseconds(paced99),
            "loopbackRoundTripMicroseconds": microseconds(roundTrip.latency.mean),
            "loopbackRoundTripP50Microseconds":
                microseconds(Double(roundTrip.latency.percentile(0.5))),
            "loopbackRoundTripP99Microseconds": microseconds(trip99),
            "loopbackBytesPerSecond": rounded(loopbackBytesPerSecond),
            "settings": [
                "data": .string(directory), "secondsEach": .integer(seconds),
                "rate": .integer(rate),
            ],
        ]
    }
}
