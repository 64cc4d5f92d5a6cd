#!/usr/bin/env bash
# Checks that the deployed workers run and that their states are correct. Only reads. As root:
#
#     scripts/verify.sh [--json] [options of `marketstate verify`]
#
# It prints one line per check: of the systemd units, of the journal, then those of `marketstate
# verify` with the settings of the services. With --json, one object per line. Exit code 4 if a
# check fails.
set -uo pipefail

readonly FIRST=quantum-marketstate.service
# Runs a command of the installed release with the settings and the password of the services.
readonly PROGRAM=/usr/local/sbin/quantum-marketstate
readonly MOST_ERRORS_SHOWN=3

as_json=
failed=

main() {
    case " $* " in
        *" --help "* | *" -h "*)
            sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"
            return 0
            ;;
        *" --json "*) as_json=yes ;;
    esac
    if ! command -v systemctl >/dev/null || [ ! -d /run/systemd/system ]; then
        tell FAIL systemd "this machine does not run systemd; use marketstate verify instead"
    else
        local unit
        for unit in $(units); do
            check_unit "$unit"
        done
        verify_states "$@"
    fi
    [ -z "$failed" ] || return 4
}

# tell VERDICT SUBJECT TEXT
tell() {
    [ "$1" != FAIL ] || failed=yes
    if [ -n "$as_json" ]; then
        printf '{"verdict":"%s","subject":"%s","text":"%s"}\n' "$1" "$(escaped "$2")" "$(escaped "$3")"
    else
        printf '%-4s %s: %s\n' "$1" "$2" "$3"
    fi
}

escaped() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '%s' "$text" | tr '[:cntrl:]' ' '
}

# The first worker, even if it is missing, and every additional one that exists or should.
units() {
    {
        echo "$FIRST"
        systemctl list-units --all --plain --no-legend 'quantum-marketstate@*.service'
        systemctl list-unit-files --plain --no-legend 'quantum-marketstate@?*.service'
    } | awk '{ print $1 }' | grep -v '@\.service$' | sort -u
}

property() { systemctl show --property "$2" --value "$1"; }

check_unit() {
    local state enabled restarts
    if [ "$(property "$1" LoadState)" != loaded ]; then
        tell FAIL "$1" "is not installed: run scripts/deploy.sh"
        return
    fi
    state=$(property "$1" ActiveState)
    enabled=$(systemctl is-enabled "$1" 2>/dev/null)
    restarts=$(property "$1" NRestarts)
    if [ "$state" != active ]; then
        tell FAIL "$1" "is $state ($(property "$1" Result)): systemctl status $1"
    elif [ "$enabled" != enabled ]; then
        tell FAIL "$1" "is active, but ${enabled:-not enabled}: systemctl enable $1"
    elif [ "${restarts:-0}" -gt 0 ]; then
        tell warn "$1" "is active and enabled; systemd had to restart it $restarts times"
    else
        tell ok "$1" "is active and enabled"
    fi
    check_journal "$1"
}

# Errors since the last start: from the worker, and from systemd about the worker.
check_journal() {
    local start found count
    start=$(property "$1" InvocationID)
    if [ -z "$start" ]; then
        tell skip "$1 journal" "has not been started"
        return
    fi
    if ! found=$(journalctl --quiet --no-pager --output cat --priority err \
        "_SYSTEMD_INVOCATION_ID=$start" + "INVOCATION_ID=$start" 2>&1); then
        tell FAIL "$1 journal" "cannot be read: $found"
    elif [ -z "$found" ]; then
        tell ok "$1 journal" "no errors since the last start"
    else
        count=$(wc -l <<<"$found")
        tell FAIL "$1 journal" "$count errors since the last start; the last ones:"
        tail -n "$MOST_ERRORS_SHOWN" <<<"$found" | while IFS= read -r line; do
            tell FAIL "$1 journal" "$line"
        done
    fi
}

verify_states() {
    if [ ! -x "$PROGRAM" ]; then
        tell FAIL verify "$PROGRAM does not exist: run scripts/deploy.sh"
    elif [ "$(id --user)" -ne 0 ]; then
        tell FAIL verify "only root can read the settings of the services: use sudo"
    else
        "$PROGRAM" verify "$@"
        local code=$?
        case $code in
            0) ;;
            2 | 3 | 4) failed=yes ;; # it has already printed why
            *) tell FAIL verify "ended unexpectedly, with exit code $code" ;;
        esac
    fi
}

main "$@"
