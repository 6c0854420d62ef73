/// Alerts on what no handler could handle.
extension AlertRules {
    var deadLetters: [AlertRule] {
        let list = "`martlet dlq list {{ $labels.group }}` shows them; "
        return [
            AlertRule(
                "MartletDeadLetters", .warning, for: "10m",
                when: "martlet_group_dead_letters > 0",
                "Group {{ $labels.group }} has dead letters.",
                "{{ $value | humanize }} records could not be handled, and nobody has mended, sent "
                    + "again or resolved them.",
                type: list
                    + "`martlet dlq replay {{ $labels.group }} --all --execute` sends them again."),
            AlertRule(
                "MartletRecordsParked", .warning, for: "10m",
                when: "martlet_group_parked_records > 0",
                "Group {{ $labels.group }} has parked records.",
                "{{ $value | humanize }} records are set aside until somebody releases them; keys "
                    + "may wait behind them, and retention may take them.",
                type:
                    "`martlet group parked {{ $labels.group }}` shows them with why; `martlet group "
                    + "release {{ $labels.group }} --all` hands them out again."),
            AlertRule(
                "MartletDeadLettersGrow", .critical, for: "5m",
                when: "delta(martlet_group_dead_letters[10m]) > 10",
                "More and more records of group {{ $labels.group }} die.",
                "{{ $value | humanize }} became dead letters in ten minutes: something that its "
                    + "handlers need is broken, or they are.",
                type: list + "`martlet group pause {{ $labels.group }}` stops it until that is "
                    + "mended."),
            AlertRule(
                "MartletDeadLettersUnstored", .warning, for: "5m",
                when: "martlet_group_dead_letters_unstored > 0",
                "The dead letter topic of group {{ $labels.group }} takes nothing.",
                "{{ $value | humanize }} entries wait in $groups, where they are safe.",
                type: "`martlet doctor` says what is wrong with the topic or its disk."),
            AlertRule(
                "MartletBreakerOpen", .critical, for: "5m",
                when: "max_over_time(martlet_group_breaker_state[2m]) == 2",
                "The breaker of group {{ $labels.group }} is open.",
                "Too much of what its handlers do fails: nothing is handed out, but for a few "
                    + "records that are tried from time to time.",
                type: "`martlet group breaker {{ $labels.group }}` shows it; `--close` lets the "
                    + "group go on at once."),
            AlertRule(
                "MartletRecordsExpired", .critical, for: "0s",
                when: "delta(martlet_group_expired_records[15m]) > 0",
                "Retention took records that group {{ $labels.group }} had not handled.",
                "{{ $value | humanize }} records are lost to the group.",
                type: "`martlet group describe {{ $labels.group }}` shows how far it is behind."),
        ]
    }
}
