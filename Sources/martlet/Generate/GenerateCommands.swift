import MartletConfiguration
import MartletJSON

/// `martlet generate ...`: what a monitoring system needs, made without asking a broker.
enum GenerateCommands {
    static let group: Command = Command(
        "generate", "Make alert rules and a dashboard for a monitoring system.",
        examples: [
            ExampleSpec("martlet generate prometheus-rules > martlet-rules.yml", "Alerts"),
            ExampleSpec("martlet generate grafana-dashboard > martlet.json", "A dashboard"),
        ],
        commands: [rules, dashboard])

    private static let rules: Command = Command(
        CommandSpec(
            "prometheus-rules", "Print alert rules for Prometheus, as YAML.",
            discussion: [
                "Each alert carries a text that names the command to type next. Put the file under "
                    + "rule_files in prometheus.yml; 'promtool check rules' checks it. The label "
                    + "severity is 'warning' or 'critical'.",
                "They are about the brokers of one job: under scrape_configs a 'job_name: martlet' "
                    + "(or what --job says), whose targets are the brokers' admin listeners, such as "
                    + "127.0.0.1:7701. The path is /metrics, as Prometheus has it by itself. "
                    + "docs/OPERATIONS.md has a whole prometheus.yml.",
            ],
            flags: AlertThresholds.flags,
            examples: [
                ExampleSpec(
                    "martlet generate prometheus-rules > martlet-rules.yml", "All defaults"),
                ExampleSpec(
                    "martlet generate prometheus-rules --lag-time 30s --headroom 2d",
                    "Groups that must be close behind"),
            ])
    ) { context in
        let thresholds = try AlertThresholds(context)
        try context.output.write(YAMLWriter.text(AlertRules(thresholds).json))
    }

    private static let dashboard: Command = Command(
        CommandSpec(
            "grafana-dashboard", "Print a dashboard for Grafana, as JSON.",
            discussion: [
                "Import it in Grafana and choose a Prometheus that scrapes the brokers' admin "
                    + "listeners. The name of a panel is followed by what it means."
            ],
            examples: [
                ExampleSpec("martlet generate grafana-dashboard > martlet.json", "Then import it")
            ])
    ) { context in
        try context.output.json(Dashboard.json)
    }
}
