import MartletJSON

/// What a measurement found.
struct BenchResult: Sendable {
    var records: Int64 = 0
    /// Bytes of keys and values.
    var bytes: Int64 = 0
    var nanoseconds: Int64 = 0
    var latency = LatencyHistogram()
    /// From the moment a record was really given to the client, where `latency` counts from the
    /// moment it was due.
    var latencyFromSend: LatencyHistogram?
    /// More members of the JSON object.
    var facts: [(name: String, value: JSONValue)] = []

    var seconds: Double { Double(nanoseconds) / 1e9 }
    var recordsPerSecond: Double { nanoseconds > 0 ? Double(records) / seconds : 0 }
    var bytesPerSecond: Double { nanoseconds > 0 ? Double(bytes) / seconds : 0 }

    func json(_ plan: BenchPlan) -> JSONValue {
        func rounded(_ value: Double) -> JSONValue { .double((value * 10).rounded() / 10) }
        var object: JSONObject = [
            "bench": .string(plan.kind.rawValue), "records": .integer(records),
            "bytes": .integer(bytes), "seconds": .double((seconds * 1e6).rounded() / 1e6),
            "recordsPerSecond": rounded(recordsPerSecond),
            "bytesPerSecond": rounded(bytesPerSecond), "latencyMicroseconds": latency.json,
        ]
        if let latencyFromSend {
            object["latencyFromSendMicroseconds"] = latencyFromSend.json
        }
        for fact in facts { object[fact.name] = fact.value }
        object["settings"] = plan.json
        return .object(object)
    }

    func text(_ plan: BenchPlan) -> String {
        func microseconds(_ nanoseconds: Int64) -> String {
            Shown.decimal(Double(nanoseconds) / 1000, 1)
        }
        var facts = Facts()
        facts.add(
            "records",
            "\(Shown.count(records)) of \(plan.size) B in "
                + "\(Shown.decimal(seconds, 2)) s")
        facts.add(
            "rate",
            "\(Shown.count(Int64(recordsPerSecond))) records/s, "
                + "\(Shown.decimal(bytesPerSecond / 1e6, 1)) MB/s")
        for (name, times) in [("latency us", latency), ("from send us", latencyFromSend)] {
            guard let times, times.count > 0 else { continue }
            facts.add(
                name,
                "mean \(Shown.decimal(times.mean / 1000, 1)), "
                    + "p50 \(microseconds(times.percentile(0.5))), "
                    + "p99 \(microseconds(times.percentile(0.99))), "
                    + "p99.9 \(microseconds(times.percentile(0.999))), "
                    + "max \(microseconds(times.maximum)) of \(Shown.count(times.count))")
        }
        for fact in self.facts { facts.add(fact.name, JSONWriter.text(fact.value)) }
        return facts.text
    }
}
