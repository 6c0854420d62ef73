import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet doctor`.
enum DoctorCommand {
    static let command: Command = Command(
        CommandSpec(
            "doctor", "Ask the broker what is wrong with it, and what to do.",
            discussion: [
                "Shows what the last start found and mended, judgements with advice, and figures. "
                    + "The exit code is 2 when a judgement is critical, with --strict also when "
                    + "there is a warning."
            ],
            flags: [FlagSpec("strict", "Warnings count too."), CommonFlags.output],
            examples: [
                ExampleSpec("martlet doctor", "For people"),
                ExampleSpec("martlet doctor --strict -o json", "For monitoring"),
            ])
    ) { context in
        let format = context.format()
        let report = try await context.withClient { try await $0.admin.doctor() }
        switch format {
        case .table, .name, .raw: try context.output.write(text(report))
        case .json: try context.output.json(json(report))
        case .jsonl: try context.output.jsonLine(json(report))
        }
        let limit: FindingSeverity = context.invocation.has("strict") ? .warning : .critical
        if report.findings.contains(where: { $0.severity >= limit }) {
            throw ToolError.silent(.usage)
        }
    }

    private static func text(_ report: DoctorReport) -> String {
        var text = ""
        for finding in report.findings {
            text += "\(finding.severity): \(Shown.text(finding.text))"
            text += finding.advice.isEmpty ? "" : "; \(Shown.text(finding.advice))"
            text += " (\(finding.code))\n"
        }
        text += "\nlast start: "
        text +=
            report.recovery.isEmpty
            ? "nothing had to be put right\n" : "what recovery did\n" + recovery(report).text()
        var figures = Table([.left("FIGURE"), .right("VALUE")])
        for figure in report.figures {
            figures.add([figure.name, value(figure)])
        }
        return text + (report.figures.isEmpty ? "" : "\n" + figures.text())
    }

    /// A figure for people; its unit may be one that this program does not know.
    private static func value(_ figure: HealthFigure) -> String {
        switch figure.unit {
        case "bytes": Shown.bytes(figure.value)
        case "bool": figure.value == 0 ? "no" : "yes"
        case "": Shown.count(figure.value)
        case let unit: "\(Shown.count(figure.value)) \(unit)"
        }
    }

    private static func recovery(_ report: DoctorReport) -> Table {
        var table = Table([
            .left("KIND"), .left("TOPIC"), .right("PARTITION"), .right("FROM"), .right("UP TO"),
            .right("BYTES"), .left("DETAIL"),
        ])
        for note in report.recovery {
            table.add([
                note.kind, note.topic, note.partition < 0 ? "" : "\(note.partition)",
                note.from.map { "\($0)" } ?? "", note.to.map { "\($0)" } ?? "",
                "\(note.bytes)", note.detail,
            ])
        }
        return table
    }

    private static func json(_ report: DoctorReport) -> JSONValue {
        [
            "findings": .array(
                report.findings.map { finding in
                    [
                        "severity": .string(finding.severity.description),
                        "code": .string(finding.code), "text": .string(finding.text),
                        "advice": .string(finding.advice),
                    ]
                }),
            "recovery": .array(
                report.recovery.map { note in
                    [
                        "kind": .string(note.kind), "topic": .string(note.topic),
                        "partition": JSONValue(note.partition),
                        "from": note.from.map { .integer($0) } ?? .null,
                        "to": note.to.map { .integer($0) } ?? .null,
                        "bytes": .integer(note.bytes), "detail": .string(note.detail),
                    ]
                }),
            "figures": .array(
                report.figures.map { figure in
                    [
                        "name": .string(figure.name), "value": .integer(figure.value),
                        "unit": .string(figure.unit),
                    ]
                }),
        ]
    }
}
