import MartletJSON

/// One alert: when, how bad, and what to do.
struct AlertRule {
    enum Severity: String {
        /// Somebody looks at it in working hours.
        case warning
        /// Somebody is called.
        case critical
    }

    let name: String
    let severity: Severity
    /// How long the query must hold.
    let hold: String
    let query: String
    let summary: String
    let description: String
    /// What to type next, with the command in backquotes.
    let runbook: String

    init(
        _ name: String, _ severity: Severity, for hold: String, when query: String,
        _ summary: String, _ description: String, type runbook: String
    ) {
        self.name = name
        self.severity = severity
        self.hold = hold
        self.query = query
        self.summary = summary
        self.description = description
        self.runbook = runbook
    }

    var json: JSONValue {
        [
            "alert": .string(name), "expr": .string(query), "for": .string(hold),
            "labels": ["severity": .string(severity.rawValue)],
            "annotations": [
                "summary": .string(summary), "description": .string(description),
                "runbook": .string(runbook),
            ],
        ]
    }
}

/// All alerts. A counter that begins above 0 does not increase for Prometheus: `unless ... offset`
/// catches what a start has counted before the first scrape.
struct AlertRules {
    let thresholds: AlertThresholds

    init(_ thresholds: AlertThresholds) {
        self.thresholds = thresholds
    }

    var all: [(group: String, rules: [AlertRule])] {
        [
            ("martlet-groups", lag + retention + deadLetters + events),
            ("martlet-brokers", service + disk + limits),
        ]
    }

    var json: JSONValue {
        [
            "groups": .array(
                all.map { group, rules in
                    ["name": .string(group), "rules": .array(rules.map(\.json))]
                })
        ]
    }

    private static func seconds(_ milliseconds: Int64) -> String {
        milliseconds % 1_000 == 0
            ? "\(milliseconds / 1_000)" : Shown.decimal(Double(milliseconds) / 1_000, 3)
    }

    // MARK: - Groups

    private var lag: [AlertRule] {
        let time = Self.seconds(thresholds.lagTime)
        let critical = Self.seconds(thresholds.lagTimeCritical)
        return [
            AlertRule(
                "MartletGroupFallsBehind", .warning, for: "10m",
                when: "martlet_group_lag_seconds > \(time) "
                    + "and delta(martlet_group_lag_seconds[10m]) > 0",
                "Group {{ $labels.group }} falls behind in topic {{ $labels.topic }}.",
                "The oldest record that it has not handled is at least "
                    + "{{ $value | humanizeDuration }} old, and it gets older.",
                type: "`martlet group describe {{ $labels.group }}` shows which partitions wait, "
                    + "and for which member; `martlet top` shows whether it handles anything."),
            AlertRule(
                "MartletGroupLagGrows", .warning, for: "10m",
                when: "martlet_group_lag_records > \(thresholds.lagRecords) "
                    + "and delta(martlet_group_lag_records[10m]) > 0",
                "Group {{ $labels.group }} is slower than topic {{ $labels.topic }}.",
                "{{ $value | humanize }} records are not handled, and it becomes more.",
                type: "`martlet top` shows what comes in and what the group handles: when its "
                    + "members work at their limit, add some; "
                    + "`martlet group describe {{ $labels.group }}` shows what each has."),
            AlertRule(
                "MartletGroupFarBehind", .critical, for: "5m",
                when: "martlet_group_lag_seconds > \(critical) "
                    + "and delta(martlet_group_lag_seconds[10m]) >= 0",
                "Group {{ $labels.group }} is far behind in topic {{ $labels.topic }}.",
                "The oldest record that it has not handled is at least "
                    + "{{ $value | humanizeDuration }} old, and it does not catch up.",
                type: "`martlet group describe {{ $labels.group }}` shows how far each partition "
                    + "is, who owns it, and whether it is paused."),
            AlertRule(
                "MartletGroupWithoutMembers", .warning, for: "15m",
                when: "sum by (job, instance, group) (martlet_group_lag_records) > 0 "
                    + "and on (job, instance, group) martlet_group_members == 0",
                "Nobody works for group {{ $labels.group }}.",
                "{{ $value | humanize }} records wait, and the group has no members.",
                type: "`martlet group describe {{ $labels.group }}` shows where it stopped; start "
                    + "its members, or, when it is not needed any more, "
                    + "`martlet group delete {{ $labels.group }}`."),
        ]
    }

    /// Where retention is as short as the threshold, a group that keeps up has no more headroom
    /// than that: it is behind only when more of the retention is behind it than before it.
    private var retention: [AlertRule] {
        let about = "Retention takes what group {{ $labels.group }} has not handled in topic "
        let help =
            "`martlet group describe {{ $labels.group }}` shows what is left in which partition; "
            + "`martlet topic set {{ $labels.topic }} retention.time=-1` keeps all until it is mended."
        func rule(
            _ name: String, _ severity: AlertRule.Severity, _ hold: String, _ bound: Int64
        )
            -> AlertRule
        {
            AlertRule(
                name, severity, for: hold,
                when: "martlet_group_retention_headroom_seconds < \(Self.seconds(bound)) and "
                    + "martlet_group_retention_headroom_seconds <= martlet_group_lag_seconds",
                about + "{{ $labels.topic }} soon.",
                "Records that it has not handled may be lost to it in "
                    + "{{ $value | humanizeDuration }}.", type: help)
        }
        return [
            rule("MartletGroupHeadroomLow", .warning, "10m", thresholds.headroom),
            rule("MartletGroupAboutToLose", .critical, "2m", thresholds.headroomCritical),
            AlertRule(
                "MartletGroupHeadroomFills", .critical, for: "10m",
                when: "predict_linear(martlet_group_retention_headroom_bytes[30m], "
                    + "\(Self.seconds(thresholds.headroomCritical))) < 0",
                about + "{{ $labels.topic }} soon.",
                "At this rate retention by size takes records that it has not handled.",
                type: "`martlet group describe {{ $labels.group }}` shows how many bytes are left; "
                    + "`martlet topic set {{ $labels.topic }} retention.bytes=-1` keeps all until "
                    + "it is mended."),
            AlertRule(
                "MartletGroupOvertaken", .critical, for: "0s",
                when: "increase(martlet_storage_overtaken_offsets_total[15m]) > 0",
                "Retention took records that a group had not handled.",
                "{{ $value | humanize }} records of a topic that is kept until it is consumed are "
                    + "lost to a group.",
                type: "the log of {{ $labels.instance }} names the group (GROUP_OVERTAKEN); "
                    + "`martlet group list` shows how far behind all of them are."),
            AlertRule(
                "MartletGroupMoved", .warning, for: "0s",
                when: "increase(martlet_group_policy_resets_total"
                    + "{reason=~\"gone|lost\"}[15m]) > 0",
                "What group {{ $labels.group }} was to read is not there.",
                "Its members' reset policy chose where it goes on ({{ $labels.reason }}): records "
                    + "were left out, or come again.",
                type: "the log of {{ $labels.instance }} says from where to where "
                    + "(GROUP_RESET_BY_POLICY); `martlet group describe {{ $labels.group }}` shows "
                    + "where it is."),
        ]
    }

    private var events: [AlertRule] {
        [
            AlertRule(
                "MartletGroupEventsMissing", .warning, for: "0s",
                when: "increase(martlet_group_events_dropped_total[15m]) > 0",
                "Events of groups are missing in $group-events.",
                "{{ $value | humanize }} found no room: the topic takes nothing, or more happens "
                    + "than it is made for. Groups and their records are as they should be.",
                type: "the log of {{ $labels.instance }} says why (GROUP_EVENTS_NOT_WRITTEN, "
                    + "GROUP_EVENTS_DROPPED); `martlet group events --type events.` shows how many."
            )
        ]
    }

    // MARK: - Brokers

    private var service: [AlertRule] {
        let up = "up{job='\(thresholds.job)'}"
        return [
            AlertRule(
                "MartletBrokerDown", .critical, for: "1m",
                when: "\(up) == 0 or absent(\(up))",
                "A broker does not answer.",
                "Prometheus cannot read its metrics{{ with $labels.instance }} at {{ . }}{{ end }}.",
                type: "`martlet status` shows whether clients are served; if not, its log says why "
                    + "it ended."),
            AlertRule(
                "MartletBrokerRestarts", .warning, for: "0s",
                when: "resets(martlet_process_cpu_seconds_total[30m]) >= 2",
                "Broker {{ $labels.instance }} starts over and over.",
                "It started {{ $value }} times in half an hour. A failed sync ends it with code 74.",
                type: "`martlet doctor` shows what the last start found; the log says how the last "
                    + "run ended (STORAGE_FAILED)."),
            AlertRule(
                "MartletBrokerReadOnly", .critical, for: "1m",
                when: "martlet_broker_writable == 0",
                "Broker {{ $labels.instance }} refuses producers.",
                "Its disk is full, or a start on a full disk could not put everything right.",
                type: "`martlet doctor` says what is missing, and how much space there is."),
            AlertRule(
                "MartletConnectionsRefused", .warning, for: "5m",
                when: "sum by (job, instance, reason) "
                    + "(increase(martlet_broker_connections_refused_total[5m])) > 0",
                "Broker {{ $labels.instance }} turns connections away.",
                "{{ $value | humanize }} in five minutes: {{ $labels.reason }}.",
                type: "`martlet status` shows how many connections there are; the log names the "
                    + "limit (CONNECTION_REFUSED)."),
        ]
    }

    private var disk: [AlertRule] {
        let free = "martlet_storage_disk_available_bytes"
        return [
            AlertRule(
                "MartletDiskNearlyFull", .warning, for: "10m",
                when: "100 * \(free) / martlet_storage_disk_bytes < \(thresholds.diskPercent)",
                "The disk of broker {{ $labels.instance }} is nearly full.",
                "{{ $value | humanize }} % of it are free.",
                type: "`martlet topic list` shows what takes the space; "
                    + "`martlet doctor` says when producers are refused."),
            AlertRule(
                "MartletDiskFullSoon", .critical, for: "15m",
                when: "predict_linear(\(free)[1h], \(Self.seconds(thresholds.diskFullIn))) < 0",
                "The disk of broker {{ $labels.instance }} will be full soon.",
                "At the rate of the last hour it is full in less than "
                    + Shown.duration(milliseconds: thresholds.diskFullIn) + ".",
                type: "`martlet topic list` shows what takes the space; lower the retention of a "
                    + "topic, or add disk."),
            AlertRule(
                "MartletSyncsSlow", .warning, for: "10m",
                when: "histogram_quantile(0.99, sum by (job, instance, le) "
                    + "(rate(martlet_storage_flush_seconds_bucket[5m]))) > "
                    + Self.seconds(thresholds.syncTime),
                "The disk of broker {{ $labels.instance }} is slow.",
                "One sync in a hundred takes longer than {{ $value | humanizeDuration }}.",
                type: "`martlet doctor` shows how long syncs take; the disk is shared, worn or at "
                    + "its limit."),
            AlertRule(
                "MartletDataDamaged", .critical, for: "0s",
                when: "increase(martlet_storage_damaged_ranges_total[1h]) > 0 or "
                    + "(martlet_storage_damaged_ranges_total > 0 unless "
                    + "martlet_storage_damaged_ranges_total offset 1h)",
                "Stored records of broker {{ $labels.instance }} are damaged.",
                "Bytes on its disk are not what was written. They are in quarantine; nobody is "
                    + "given them.",
                type: "`martlet doctor` names the ranges, and "
                    + "`martlet topic verify TOPIC` reads all of a topic again."),
            AlertRule(
                "MartletReadsFail", .critical, for: "0s",
                when: "increase(martlet_broker_read_failures_total[15m]) > 0",
                "The disk of broker {{ $labels.instance }} does not answer.",
                "{{ $value | humanize }} reads of records failed.",
                type: "`martlet doctor` shows what the broker knows; look at the kernel's log."),
        ]
    }

    private var limits: [AlertRule] {
        [
            AlertRule(
                "MartletDescriptorsShort", .warning, for: "5m",
                when: "100 * martlet_process_open_descriptors / martlet_process_descriptors_max > "
                    + "\(thresholds.descriptorPercent)",
                "Broker {{ $labels.instance }} runs out of descriptors.",
                "{{ $value | humanize }} % of those that it may have are open.",
                type: "`martlet doctor` shows what there are; raise LimitNOFILE, or lower "
                    + "open.files.max or connections.max.")
        ]
    }
}
