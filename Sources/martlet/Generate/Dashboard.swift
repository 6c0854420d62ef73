import MartletJSON

/// One panel: queries with what stands in their legend.
struct DashboardPanel {
    enum Form: String {
        case timeseries
        /// One large number a query.
        case stat
    }

    let title: String
    /// What it means, and what to type when it looks bad.
    let help: String
    let unit: String
    let form: Form
    let queries: [(query: String, legend: String)]

    init(
        _ title: String, _ help: String, unit: String = "short", as form: Form = .timeseries,
        _ queries: [(query: String, legend: String)]
    ) {
        self.title = title
        self.help = help
        self.unit = unit
        self.form = form
        self.queries = queries
    }

    /// Columns of the dashboard's 24.
    var width: Int { form == .stat ? 4 : 8 }
    var height: Int { form == .stat ? 4 : 8 }

    func json(id: Int, x: Int, y: Int) -> JSONValue {
        [
            "id": JSONValue(id), "type": .string(form.rawValue), "title": .string(title),
            "description": .string(help), "datasource": Dashboard.source,
            "gridPos": [
                "x": JSONValue(x), "y": JSONValue(y), "w": JSONValue(width), "h": JSONValue(height),
            ],
            "fieldConfig": ["defaults": ["unit": .string(unit)], "overrides": []],
            "targets": .array(
                queries.enumerated().map { index, query in
                    [
                        "refId": .string("Q\(index + 1)"), "datasource": Dashboard.source,
                        "expr": .string(query.query), "legendFormat": .string(query.legend),
                    ]
                }),
        ]
    }
}

/// The dashboard: rows of panels, for the brokers and groups that are chosen at its head.
enum Dashboard {
    static let source: JSONValue = ["type": "prometheus", "uid": "${datasource}"]

    /// What is chosen at the head.
    private static let here = "{instance=~'$instance'}"
    private static let chosen = "{instance=~'$instance',group=~'$group'}"

    static let rows: [(title: String, panels: [DashboardPanel])] = [
        ("Now", now), ("Groups", groups), ("Traffic", traffic), ("Storage", storage),
        ("Process", process),
    ]

    static var json: JSONValue {
        [
            "title": "Martlet", "uid": "martlet", "tags": ["martlet"], "schemaVersion": 38,
            "timezone": "browser", "refresh": "30s", "editable": true,
            "time": ["from": "now-3h", "to": "now"],
            "templating": [
                "list": [
                    ["name": "datasource", "type": "datasource", "query": "prometheus"],
                    variable("instance", "label_values(martlet_build_info, instance)"),
                    variable(
                        "group",
                        "label_values(martlet_group_members{instance=~\"$instance\"}, group)"),
                ]
            ],
            "panels": .array(placed),
        ]
    }

    private static func variable(_ name: String, _ query: String) -> JSONValue {
        [
            "name": .string(name), "type": "query", "datasource": source, "query": .string(query),
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": ["text": "All", "value": "$__all"],
        ]
    }

    /// Each row's panels from left to right, as many lines of them as it takes.
    private static var placed: [JSONValue] {
        var panels: [JSONValue] = []
        var y = 0
        for row in rows {
            panels.append([
                "id": JSONValue(panels.count + 1), "type": "row", "title": .string(row.title),
                "collapsed": false, "panels": [],
                "gridPos": ["x": 0, "y": JSONValue(y), "w": 24, "h": 1],
            ])
            y += 1
            var x = 0
            for panel in row.panels {
                if x + panel.width > 24 {
                    x = 0
                    y += panel.height
                }
                panels.append(panel.json(id: panels.count + 1, x: x, y: y))
                x += panel.width
            }
            y += row.panels.last?.height ?? 0
        }
        return panels
    }

    /// So much a second, over as many samples as the panel has columns.
    private static func rate(_ counter: String, by labels: String = "instance") -> String {
        "sum by (\(labels)) (rate(\(counter)\(here)[$__rate_interval]))"
    }

    private static func p99(_ histogram: String, by label: String = "instance") -> String {
        "histogram_quantile(0.99, \(rate("\(histogram)_bucket", by: "\(label), le")))"
    }

    // MARK: - Panels

    private static let now = [
        DashboardPanel(
            "Brokers", "Brokers that answer. `martlet status` asks one.", as: .stat,
            [("count(martlet_build_info\(here))", "brokers")]),
        DashboardPanel(
            "Read-only", "Brokers that refuse producers. `martlet doctor` says why.", as: .stat,
            [("sum(1 - martlet_broker_writable\(here))", "brokers")]),
        DashboardPanel(
            "Connections", "Clients that are connected.", as: .stat,
            [("sum(martlet_broker_connections\(here))", "connections")]),
        DashboardPanel(
            "Group members", "`martlet group list` shows them by group.", as: .stat,
            [("sum(martlet_group_members\(chosen))", "members")]),
        DashboardPanel(
            "Groups behind",
            "Groups with records that are not handled. `martlet top` shows them.",
            as: .stat,
            [
                (
                    "count(sum by (group) (martlet_group_lag_records\(chosen)) > 0) or vector(0)",
                    "groups"
                )
            ]
        ),
        DashboardPanel(
            "Damaged ranges", "Found since the start. `martlet doctor` names them.", as: .stat,
            [("sum(martlet_storage_damaged_ranges_total\(here))", "ranges")]),
    ]

    private static let groups = [
        DashboardPanel(
            "Lag in records",
            "Visible records that a group has not handled. "
                + "`martlet group describe GROUP` shows them by partition.",
            [("martlet_group_lag_records\(chosen)", "{{group}} {{topic}}")]),
        DashboardPanel(
            "Lag in time", "The age of the oldest record that a group has not handled.", unit: "s",
            [("martlet_group_lag_seconds\(chosen)", "{{group}} {{topic}}")]),
        DashboardPanel(
            "Time until retention",
            "Before that, retention by age takes no record that a group "
                + "has not handled. Not there without lag.", unit: "s",
            [("martlet_group_retention_headroom_seconds\(chosen)", "{{group}} {{topic}}")]),
        DashboardPanel(
            "Bytes until retention",
            "So many may be appended to a partition before retention by "
                + "size takes a record that a group has not handled.", unit: "bytes",
            [("martlet_group_retention_headroom_bytes\(chosen)", "{{group}} {{topic}}")]),
        DashboardPanel(
            "Dead letters",
            "Records that could not be handled, and that nobody has sent again or resolved. "
                + "`martlet dlq list GROUP` shows them.",
            [("martlet_group_dead_letters\(chosen)", "{{group}}")]),
        DashboardPanel(
            "Age of dead letters", "The oldest of them.", unit: "s",
            [("martlet_group_dead_letters_oldest_seconds\(chosen)", "{{group}}")]),
        DashboardPanel(
            "Queues at work",
            "Records with members, records that wait for their time, and those that are parked; of "
                + "stream groups those that failed and are tried again.",
            [
                ("martlet_group_in_flight_records\(chosen)", "in flight {{group}}"),
                ("martlet_group_delayed_records\(chosen)", "delayed {{group}}"),
                ("martlet_group_replay_records\(chosen)", "sent again {{group}}"),
                ("martlet_group_parked_records\(chosen)", "parked {{group}}"),
                ("martlet_group_failing_records\(chosen)", "failing {{group}}"),
            ]),
        DashboardPanel(
            "Slowest handlers",
            "One call in a hundred takes longer, by steps. "
                + "`martlet group describe GROUP` has the mean and the longest.",
            unit: "s", [(p99("martlet_group_handler_seconds", by: "group"), "{{group}}")]),
        DashboardPanel(
            "Breakers",
            "0: closed. 1: a few records are tried. 2: open, and nothing is handed out, because too "
                + "much fails.",
            [("martlet_group_breaker_state\(chosen)", "{{group}}")]),
        DashboardPanel(
            "Members", "A group without members stands still.",
            [("martlet_group_members\(chosen)", "{{group}}")]),
        DashboardPanel(
            "Lost and set back",
            "Records that retention took from a group of a topic that is kept "
                + "until it is consumed, and partitions that a person reset, or members by their "
                + "reset policy.",
            [
                (rate("martlet_storage_overtaken_offsets_total"), "lost {{instance}}"),
                (rate("martlet_group_resets_total"), "reset {{instance}}"),
                (
                    "sum by (group, reason) "
                        + "(rate(martlet_group_policy_resets_total\(chosen)[$__rate_interval]))",
                    "{{reason}} {{group}}"
                ),
            ]),
    ]

    private static let traffic = [
        DashboardPanel(
            "Records in", "Appended by producers.", unit: "cps",
            [(rate("martlet_broker_records_in_total"), "{{instance}}")]),
        DashboardPanel(
            "Bytes of batches", "In: appended by producers. Out: sent to readers.", unit: "Bps",
            [
                (rate("martlet_broker_batch_bytes_in_total"), "in {{instance}}"),
                (rate("martlet_broker_batch_bytes_out_total"), "out {{instance}}"),
            ]),
        DashboardPanel(
            "Requests", "By operation.", unit: "reqps",
            [(rate("martlet_broker_requests_total", by: "operation"), "{{operation}}")]),
        DashboardPanel(
            "Slowest produce and fetch",
            "One in a hundred takes longer. A fetch counts its wait "
                + "for records.", unit: "s",
            [
                (p99("martlet_broker_produce_seconds"), "produce {{instance}}"),
                (p99("martlet_broker_fetch_seconds"), "fetch {{instance}}"),
            ]),
        DashboardPanel(
            "Errors answered", "`martlet help errors CODE` says what one means.", unit: "cps",
            [(rate("martlet_broker_errors_total", by: "code") + " > 0", "{{code}}")]),
        DashboardPanel(
            "Connections", "Open, and turned away a second with the reason.",
            [
                ("martlet_broker_connections\(here)", "{{instance}}"),
                (
                    rate("martlet_broker_connections_refused_total", by: "reason") + " > 0",
                    "refused: {{reason}}"
                ),
            ]),
    ]

    private static let storage = [
        DashboardPanel(
            "Slowest syncs", "One in a hundred takes longer. `martlet doctor` has the mean.",
            unit: "s", [(p99("martlet_storage_flush_seconds"), "{{instance}}")]),
        DashboardPanel(
            "Syncs", "Each makes all that came since the last one durable.", unit: "ops",
            [(rate("martlet_storage_flushes_total"), "{{instance}}")]),
        DashboardPanel(
            "Disk",
            "Free, of the file system that holds the data. `martlet topic list` shows what "
                + "takes the rest.", unit: "bytes",
            [("martlet_storage_disk_available_bytes\(here)", "{{instance}}")]),
        DashboardPanel(
            "Appended", "Written to logs, the broker's own included.", unit: "Bps",
            [(rate("martlet_storage_appended_bytes_total"), "{{instance}}")]),
        DashboardPanel(
            "Waits for the disk",
            "Fetches that had to ask it, replies that had left the page "
                + "cache, and times that a producer waited for it.", unit: "ops",
            [
                (rate("martlet_broker_disk_fetches_total"), "fetches {{instance}}"),
                (rate("martlet_broker_disk_loads_total"), "replies {{instance}}"),
                (rate("martlet_broker_storage_pauses_total"), "producers {{instance}}"),
            ]),
        DashboardPanel(
            "Housekeeping", "Segments that retention removed and compaction rewrote.", unit: "ops",
            [
                (rate("martlet_storage_deleted_segments_total"), "removed {{instance}}"),
                (rate("martlet_storage_compacted_segments_total"), "compacted {{instance}}"),
            ]),
    ]

    private static let process = [
        DashboardPanel(
            "Memory", "In use, and what of it requests and replies hold.", unit: "bytes",
            [
                ("martlet_process_resident_bytes\(here)", "{{instance}}"),
                ("martlet_broker_memory_bytes\(here)", "requests {{instance}}"),
            ]),
        DashboardPanel(
            "Processor", "1 is a whole one.",
            [(rate("martlet_process_cpu_seconds_total"), "{{instance}}")]),
        DashboardPanel(
            "Descriptors", "Open, of those that the process may have.", unit: "percentunit",
            [
                (
                    "martlet_process_open_descriptors\(here) "
                        + "/ martlet_process_descriptors_max\(here)", "{{instance}}"
                )
            ]),
    ]
}
