import MartletClient
import MartletConfiguration
import MartletSystem

/// `martlet top`.
enum TopCommand {
    static let command: Command = Command(
        CommandSpec(
            "top", "Watch what comes in, what groups handle, and who is behind.",
            discussion: [
                "Groups in trouble come first, then those that are furthest behind in time. Their "
                    + "STATE may say 'losing' (retention is nearer than the end of the topic), "
                    + "'no members' (and records wait), 'breaker open' (too much failed, and "
                    + "nothing is handed out for a while), 'paused', or 'paused in part' (topics or "
                    + "partitions of it: 'martlet group describe' names them). PARKED records wait "
                    + "until 'martlet group release', DEAD ones until 'martlet dlq replay' or 'resolve'.",
                "Rates are differences of two looks: IN/S of the topics' ends, OUT/S and DONE/S of "
                    + "what groups have committed or acknowledged. What is read without a group "
                    + "counts only in the bytes of the second line.",
                "A terminal is painted anew each time, until Ctrl-C; elsewhere each look is printed "
                    + "below the last. A broker that is gone for a while is waited for.",
            ],
            flags: [
                FlagSpec("interval", short: "n", value: "TIME", "Between two looks; 2s."),
                FlagSpec("once", "Look twice, print what happened between, and end."),
                FlagSpec("rows", value: "N", "At most so many groups, and so many topics."),
                CommonFlags.output([.table, .json, .jsonl], "table (default), json or jsonl."),
            ],
            examples: [
                ExampleSpec("martlet top", "Until Ctrl-C"),
                ExampleSpec("martlet top --once -o json", "For a script"),
                ExampleSpec("martlet top --interval 10s -o jsonl > top.jsonl", "For later"),
            ])
    ) { context in
        let run = try TopRun(context)
        try await Interruption.cancelling {
            try await context.withClient { try await run.run($0.admin) }
        }
    }
}

/// The looks of one `martlet top`.
struct TopRun: Sendable {
    private let output: Output
    private let format: OutputFormat
    private let server: String
    private let interval: Duration
    private let isOnce: Bool
    private let rows: Int?

    init(_ context: CommandContext) throws {
        let invocation = context.invocation
        output = context.output
        format = context.format()
        server = try context.server
        isOnce = invocation.has("once")
        let time = try invocation.milliseconds("interval", in: 100...3_600_000)
        interval = .milliseconds(time ?? 2_000)
        rows = try invocation.integer("rows", in: 0...1_000_000).map(Int.init)
        if format == .json, !isOnce {
            throw context.usage("-o json is one document: add --once, or take -o jsonl")
        }
    }

    func run(_ admin: AdminClient) async throws {
        let first = try await TopLook.take(admin)
        if isOnce {
            try await Task.sleep(for: interval)
            try show(TopView(try await TopLook.take(admin), since: first))
        } else if format == .table, output.isTerminal {
            try await paint(first, admin)
        } else {
            try await follow(first, admin)
        }
    }

    private func follow(_ first: TopLook, _ admin: AdminClient) async throws {
        try show(TopView(first, since: nil))
        try await go(on: first, admin) { view, trouble in
            if let trouble {
                output.message("martlet: \(trouble)")
            } else {
                if format == .table { try output.line("") }
                try show(view)
            }
        }
    }

    private func paint(_ first: TopLook, _ admin: AdminClient) async throws {
        // A screen of its own: what was in the terminal before is there again afterwards.
        try output.write("\u{1B}[?1049h\u{1B}[?25l")
        let view = TopView(first, since: nil)
        do {
            try repaint(view, nil)
            try await go(on: first, admin, repaint)
        } catch {
            try output.write("\u{1B}[?25h\u{1B}[?1049l")
            throw error
        }
        try output.write("\u{1B}[?25h\u{1B}[?1049l")
    }

    /// Looks until the task is cancelled. After a look that failed the last view comes again, with
    /// the reason.
    private func go(
        on first: TopLook, _ admin: AdminClient, _ body: (TopView, String?) throws -> Void
    ) async throws {
        var before = first
        var view = TopView(first, since: nil)
        while true {
            do {
                try await Task.sleep(for: interval)
                let look = try await TopLook.take(admin)
                view = TopView(look, since: before)
                before = look
                try body(view, nil)
            } catch is CancellationError {
                return
            } catch let error as MartletError {
                if Task.isCancelled { return }
                try body(view, Shown.text(ToolError(describing: error).message))
            }
        }
    }

    private func show(_ view: TopView) throws {
        switch format {
        case .json: try output.json(TopJSON.value(view, server))
        case .jsonl: try output.jsonLine(TopJSON.value(view, server))
        case .table, .name, .raw:
            try output.write(TopScreen(view: view, server: server).text(rows: rows))
        }
    }

    /// Over what is there, line by line, so that nothing flickers.
    private func repaint(_ view: TopView, _ trouble: String?) throws {
        let lines = TopScreen(view: view, server: server).lines(
            width: StandardStream.output.terminalWidth ?? 80,
            height: StandardStream.output.terminalHeight ?? 24, rows: rows, trouble: trouble)
        let text = lines.map { $0 + "\u{1B}[K" }.joined(separator: "\n")
        try output.write("\u{1B}[H\(text)\u{1B}[J")
    }
}
