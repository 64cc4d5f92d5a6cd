#!/usr/bin/env bash
# Deploys the worker of this checkout under systemd, as root. You can run it again at any time.
#
#   scripts/deploy.sh [--workers N] [--rolling] [--with-view] [--with-metrics] [--with-page]
#                     [--wheels DIR] [--synthetic] [--dry-run] [-- OPTIONS OF verify.sh]
#   scripts/deploy.sh --rollback            to the previous release; again: back to the newer one
#   scripts/deploy.sh --uninstall [--yes]   --yes: do not ask, and remove the configuration too
#
#   --workers N    how many workers run on this machine; default: as many as before, or 1
#   --rolling      replace one worker after another, if the new release can work beside the running
#                  one; otherwise say why not, and stop all for a moment, as without this option
#   --with-view    install rich and matplotlib too, for quantum-marketstate top and plot; later
#                  releases have them as well, until --without-view
#   --with-metrics write metrics and what verify finds into files for node_exporter, every 30 s and
#                  every 15 min, by timers; later releases do so too, until --without-metrics
#   --with-page    serve metrics and a live page of all markets on 127.0.0.1:8043; later releases do so
#                  too, until --without-page
#   --wheels DIR   install only from the wheels in DIR, without a package index. To fill it, on a machine
#                  with the same Python:
#                  python3 -m pip download --dest DIR -r deploy/locked/build.txt -r deploy/locked/base.txt
#                  (with view.txt, metrics.txt and web.txt too for these options)
#   --synthetic    do not ask before workers start that publish invented prices; without a terminal
#                  to ask on, such workers start only with this option
#   --dry-run      show what would be done, and change nothing
#
# Each release has its own folder under /opt/quantum/marketstate/releases; a symbolic link selects
# the one that runs. The running release is not touched until the new one has passed `marketstate
# check`. If the new release does not become ready, the previous one is started again.
#
# Exit codes: 0 done, 1 a step failed (the previous release still runs), 2 invalid options or missing
# prerequisites, 4 deployed, but verify.sh found a problem, or the page does not run.
set -euo pipefail
umask 022

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly checkout
readonly home=/opt/quantum/marketstate
readonly configuration=/etc/quantum
readonly units=/etc/systemd/system
readonly first=quantum-marketstate.service
readonly timed=(quantum-marketstate-metrics quantum-marketstate-verify) # each a service and a timer
readonly page=quantum-marketstate-page.service
readonly program=/usr/local/sbin/quantum-marketstate
readonly textfiles=/var/lib/prometheus/node-exporter # those that node_exporter reads
readonly releases_kept=3
# Where shells and man look, by the names in a release.
readonly share=/usr/local/share
declare -rA for_shells=(
    [bash]=$share/bash-completion/completions/quantum-marketstate
    [zsh]=$share/zsh/site-functions/_quantum-marketstate
    [fish]=$share/fish/vendor_completions.d/quantum-marketstate.fish
    [marketstate.1]=$share/man/man1/marketstate.1
    [quantum-marketstate.1]=$share/man/man1/quantum-marketstate.1
)
readonly quiet=(--quiet --disable-pip-version-check)

action=deploy
workers=
wheels=
rolling=
view=    # yes, no, or as before
metrics= # the same
web=     # the same: the page
assume_yes=
dry_run=
may_invent= # workers that publish synthetic prices may start ...
invents=    # ... and they do
verify_options=()
wanted=()   # the units of the workers
old=        # the running release ...
older=      # ... and the one before it
unfinished= # what to remove if a step fails

main() {
    read_options "$@"
    look_for_what_is_missing
    trap leave_nothing_unfinished EXIT
    if [ -z "$dry_run" ]; then
        exec 9>/run/lock/quantum-marketstate.lock
        flock --nonblock 9 || fail "another deploy.sh is running"
    fi
    old=$(linked current)
    older=$(linked previous)
    "$action"
}

deploy() {
    local release
    ask_about_synthetic_prices
    [ -n "$view" ] || [ ! -e "$old/with-view" ] || view=yes
    [ -n "$metrics" ] || [ ! -e "$old/with-metrics" ] || metrics=yes
    [ -n "$web" ] || [ ! -e "$old/with-web" ] || web=yes
    release=$(release_of_checkout)
    build "$release"
    write_environment
    preflight "$release"
    switch_to "$release"
    choose_workers
    start_workers || go_back
    choose_timers "$release"
    choose_page "$release"
    remove_old_releases
    show_result
}

rollback() {
    [ -n "$older" ] || fail "there is no release before ${old:-this} to roll back to"
    ask_about_synthetic_prices
    preflight "$older"
    switch_to "$older"
    choose_workers
    start_workers || go_back
    choose_timers "$older"
    choose_page "$older"
    show_result
}

uninstall() {
    local unit
    step "Removing units and releases"
    for unit in $(further_workers) "$first"; do
        run systemctl --quiet disable --now "$unit" || true
    done
    [ ! -e "$units/${timed[0]}.timer" ] || remove_timers
    [ ! -e "$units/$page" ] || remove_page
    run rm -rf "$units/$first" "$units/quantum-marketstate@.service" \
        "$units/$first.d"/{10-worker,20-common}.conf \
        "$units/quantum-marketstate@.service.d"/{10-worker,20-common}.conf
    # Keep the user's own drop-ins; remove empty folders.
    run rmdir --ignore-fail-on-non-empty "$units/$first.d" "$units/quantum-marketstate@.service.d" || true
    run systemctl daemon-reload
    run systemctl reset-failed 'quantum-marketstate*' || true
    run rm -rf "$home" "$program"
    run rm -f "${for_shells[@]}"
    run rmdir --ignore-fail-on-non-empty /opt/quantum || true
    if is_yes "Remove the configuration $configuration/marketstate*.env and marketstate*.password too?"; then
        run find "$configuration" -maxdepth 1 \( -name 'marketstate*.env' -o -name 'marketstate*.password' \) -delete
        run rmdir --ignore-fail-on-non-empty "$configuration" || true
    else
        echo "The configuration in $configuration is kept."
    fi
    echo "The data in Redis is kept; to see it: redis-cli --scan --pattern 'quantum:*marketstate*'"
}

# --- Steps, in order -------------------------------------------------------------------------------

look_for_what_is_missing() {
    local missing=() tool
    [ "$(id -u)" -eq 0 ] || missing+=("root: use sudo")
    [ -d /run/systemd/system ] || missing+=("a running systemd")
    for tool in systemctl systemd-run journalctl flock setpriv sha256sum; do
        command -v "$tool" >/dev/null || missing+=("the command $tool")
    done
    if [ "$action" = deploy ]; then
        python=$("$checkout/scripts/python" --for-services 2>&1) || missing+=("$python")
        [ -z "$wheels" ] || compgen -G "$wheels/*.whl" >/dev/null || missing+=("wheels in $wheels")
        [ "$metrics" != yes ] || [ -d "$textfiles" ] ||
            missing+=("the folder $textfiles: apt-get install prometheus-node-exporter")
    elif [ ! -d "$home/releases" ] && [ "$action" = rollback ]; then
        missing+=("a release in $home: run scripts/deploy.sh first")
    fi
    [ ${#missing[@]} -eq 0 ] && return
    echo "deploy.sh: missing:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 2
}

# Invented prices on live keys look like real ones to everybody who reads them.
ask_about_synthetic_prices() {
    local file source found=()
    for file in "$configuration"/marketstate.env "$configuration"/marketstate@*.env; do
        [ -e "$file" ] || continue
        # The last line counts, as for systemd.
        source=$(sed -n "s/^[[:space:]]*MARKETSTATE_SOURCE=[\"']\{0,1\}\([a-z]*\).*/\1/p" "$file" | tail -n 1)
        [ "$source" != synthetic ] || found+=("$file")
    done
    [ ${#found[@]} -gt 0 ] || return 0
    invents=yes
    step "SYNTHETIC PRICES: MARKETSTATE_SOURCE is synthetic in ${found[*]}"
    echo "These workers publish invented prices to the keys that your programs read."
    if [ -z "$may_invent" ] && [ -z "$dry_run" ]; then
        [ -t 0 ] || usage "nothing is started; set MARKETSTATE_SOURCE=candles, or give --synthetic"
        asked "Start them?" || fail "nothing is started; set MARKETSTATE_SOURCE=candles"
    fi
}

# The same checkout gives the same release, so running deploy.sh again does not rebuild it.
release_of_checkout() {
    local version digest
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$checkout/pyproject.toml")
    digest=$(cd "$checkout" && {
        "$python" -VV
        echo "$python"
        [ "$view" != yes ] || echo view
        [ "$metrics" != yes ] || echo metrics
        [ "$web" != yes ] || echo web
        [ -z "$wheels" ] || (cd "$wheels" && echo ./*.whl)
        {
            find pyproject.toml setup.py src core schemas worker \
                deploy/{systemd,locked,man} -type f \
                -not -name '*.pyc' -not -name '*.so' -print0
            documents
        } | LC_ALL=C sort -zu | xargs -0 sha256sum
    } | sha256sum)
    echo "$home/releases/$version-${digest:0:12}"
}

# Built at its final path, because virtual environments cannot be moved; "complete" is written last.
build() {
    local release=$1 index=()
    if [ -e "$release/complete" ]; then
        step "Release $(basename "$release") is already built"
        return
    fi
    step "Building release $(basename "$release") with $python"
    [ -z "$wheels" ] || index=(--no-index --find-links "$wheels")
    [ -n "$dry_run" ] || unfinished=$release
    run rm -rf "$release"
    run mkdir -p "$release/wheel"
    run "$checkout/scripts/source" "$release/source"
    run "$python" -m venv "$release/venv"
    install_locked "$release" "${index[@]}"
    run "$release/venv/bin/pip" wheel "${quiet[@]}" --no-index --no-deps --no-build-isolation \
        --wheel-dir "$release/wheel" "$release/source"
    run rm -rf "$release/source"
    run "$release/venv/bin/pip" install "${quiet[@]}" --no-index --no-deps \
        --find-links "$release/wheel" marketstate-worker
    write_for_shells "$release"
    run "$release/venv/bin/pip" uninstall "${quiet[@]}" --yes setuptools shtab
    run cp -R "$checkout/deploy/systemd" "$checkout/deploy/locked" "$release/"
    copy_documents "$release/documents"
    run touch "$release/complete"
    unfinished=
}

# Exactly the files whose hashes the checkout has: what the release needs, and what builds its wheel.
install_locked() {
    local release=$1 locked=$checkout/deploy/locked files=()
    shift
    files=(--requirement "$locked/build.txt" --requirement "$locked/base.txt")
    [ "$view" != yes ] || files+=(--requirement "$locked/view.txt")
    [ "$metrics" != yes ] || files+=(--requirement "$locked/metrics.txt")
    [ "$web" != yes ] || files+=(--requirement "$locked/web.txt")
    run "$release/venv/bin/pip" install "${quiet[@]}" "$@" --require-hashes "${files[@]}"
    [ "$view" != yes ] || run touch "$release/with-view"
    [ "$metrics" != yes ] || run touch "$release/with-metrics"
    [ "$web" != yes ] || run touch "$release/with-web"
}

# The scripts with which shells complete commands and options, and the man page for both names.
write_for_shells() {
    local release=$1 shell
    if [ -n "$dry_run" ]; then
        echo "would: write completion and man page into $release/shells"
        return
    fi
    mkdir "$release/shells"
    for shell in bash zsh fish; do
        "$release/venv/bin/marketstate" completion "$shell" --program quantum-marketstate \
            >"$release/shells/$shell"
    done
    cp "$checkout/deploy/man/marketstate.1" "$release/shells/"
    echo ".so man1/marketstate.1" >"$release/shells/quantum-marketstate.1"
}

# Keeps the folder structure of the checkout, so that links between documents work. Links to other
# files, such as tests, become plain text.
copy_documents() {
    local target=$1 document
    if [ -n "$dry_run" ]; then
        echo "would: copy the documents to $target"
        return
    fi
    while IFS= read -r -d '' document; do
        mkdir -p "$target/$(dirname "$document")"
        if [[ $document != *.md ]]; then
            cp "$checkout/$document" "$target/$document"
            continue
        fi
        sed -E 's@\[([^][]*)\]\([^):#]*(\.(acl|conf|json|lua|py)|tests/[^)]*)\)@\1@g' "$checkout/$document" \
            >"$target/$document"
    done < <(documents)
}

# All documents of the checkout with their pictures and theta files, each followed by a NUL.
documents() {
    (cd "$checkout" && find ./*.md core schemas worker deploy -type f \
        \( -name '*.md' -o -path '*/pictures/*' -o -path '*/theta/*' \) -print0)
}

# An existing file is the operator's: it is never changed.
write_environment() {
    local settings=$configuration/marketstate.env template=$checkout/deploy/systemd/marketstate.env
    local line name news=() inert=()
    if [ ! -e "$settings" ]; then
        step "Writing $settings"
        run install -D --mode=600 "$template" "$settings"
        return
    fi
    while IFS= read -r line; do
        name=${line%%=*}
        name=${name#\#}
        if ! grep -q "$name=" "$settings"; then
            news+=("$line")
        elif [ "${line#\#}" = "$line" ] && ! grep -qE "^[[:space:]]*$name=" "$settings"; then
            inert+=("$(grep -m1 "$name=" "$settings")")
        fi
    done < <(grep -E '^#?MARKETSTATE_' "$template")
    if [ ${#news[@]} -gt 0 ]; then
        step "New settings since $settings was written, with their defaults"
        printf '    %s\n' "${news[@]}"
    fi
    if [ ${#inert[@]} -gt 0 ]; then
        step "Comments in $settings: to change one of these settings, remove its # first"
        printf '    %s\n' "${inert[@]}"
    fi
}

# With the settings, the password and the privileges of the services.
preflight() {
    local release=$1 found password=$configuration/marketstate.password
    step "Checking release $(basename "$release") with the settings of the services"
    if [ -n "$dry_run" ]; then
        echo "would: marketstate check${rolling:+; all workers stop for a moment if it says that they must}"
        return
    fi
    [ -z "$(find "$password" -perm /077 2>/dev/null)" ] ||
        echo "warn $password: users other than root can read it; chmod 600 $password"
    found=$(MARKETSTATE_RELEASE=$release "$release/systemd/quantum-marketstate" check 2>&1) && {
        echo "$found"
        return
    }
    echo "$found"
    # A conflict with the settings of this machine's own workers is fine, because they are restarted
    # with the new ones. A conflict with workers elsewhere is not.
    grep -q "^FAIL the group .* stop '$(uname -n)-quantum-marketstate" <<<"$found" ||
        fail "the check failed; the previous release still runs"
    echo "Those workers run on this machine; they will be restarted with the new settings."
    [ -z "$rolling" ] || step "Not one after another: the new release cannot work beside the running one"
    rolling=
}

switch_to() {
    local release=$1
    if [ "$release" != "$old" ]; then
        step "Switching to release $(basename "$release")"
        [ -z "$old" ] || link "$old" previous
        link "$release" current
    fi
    install_units "$release/systemd"
}

install_units() {
    local from=$1
    [ -d "$from" ] || from=$checkout/deploy/systemd # in a dry run
    put "$from/quantum-marketstate" "$program" 755
    put "$from/$first" "$units/$first" 644
    put "$from/quantum-marketstate@.service" "$units/quantum-marketstate@.service" 644
    put "$from/worker.conf" "$units/$first.d/10-worker.conf" 644
    share 10-worker.conf quantum-marketstate@.service
    # Before there were timers, worker.conf had all of it.
    if [ -e "$from/common.conf" ]; then
        put "$from/common.conf" "$units/$first.d/20-common.conf" 644
        share 20-common.conf quantum-marketstate@.service
    else
        run rm -f "$units/$first.d/20-common.conf" "$units/quantum-marketstate@.service.d/20-common.conf"
    fi
    run systemctl daemon-reload
    install_for_shells "${from%/systemd}/shells"
}

# A release of an older version has none, and a dry run has not made any.
install_for_shells() {
    local file
    for file in "${!for_shells[@]}"; do
        if [ -e "$1/$file" ]; then
            put "$1/$file" "${for_shells[$file]}" 644
        elif [ -z "$dry_run" ]; then
            rm -f "${for_shells[$file]}"
        fi
    done
}

# Lets another unit have a drop-in of the first worker.
share() {
    local link=$units/$2.d/$1
    [ ! -L "$link" ] || return 0
    run mkdir -p "$units/$2.d"
    run ln -sf "../$first.d/$1" "$link"
}

# The timers that write metrics, if the release has what they need.
choose_timers() {
    local from=$1/systemd name unit
    if [ ! -e "$1/with-metrics" ] && { [ -z "$dry_run" ] || [ "$metrics" != yes ]; }; then
        [ ! -e "$units/${timed[0]}.timer" ] || remove_timers
        return
    fi
    step "Writing metrics into $textfiles"
    [ -d "$from" ] || from=$checkout/deploy/systemd # in a dry run
    for name in "${timed[@]}"; do
        put "$from/$name.service" "$units/$name.service" 644
        put "$from/$name.timer" "$units/$name.timer" 644
        share 20-common.conf "$name.service"
    done
    run systemctl daemon-reload
    for unit in "${timed[@]/%/.timer}"; do
        run systemctl --quiet enable --now "$unit"
    done
}

remove_timers() {
    local name
    for name in "${timed[@]}"; do
        run systemctl --quiet disable --now "$name.timer" || true
        run systemctl stop "$name.service" || true
        run rm -f "$units/$name.timer" "$units/$name.service" "$units/$name.service.d/20-common.conf"
        run rmdir --ignore-fail-on-non-empty "$units/$name.service.d" || true
    done
    run rm -f "$textfiles"/marketstate{,-verify}.prom
    run systemctl daemon-reload
}

# The unit that serves the page, if the release has what it needs.
choose_page() {
    local from=$1/systemd
    if [ ! -e "$1/with-web" ] && { [ -z "$dry_run" ] || [ "$web" != yes ]; }; then
        [ ! -e "$units/$page" ] || remove_page
        return
    fi
    step "Serving the page"
    [ -d "$from" ] || from=$checkout/deploy/systemd # in a dry run
    put "$from/$page" "$units/$page" 644
    share 20-common.conf "$page"
    run systemctl daemon-reload
    run systemctl --quiet enable "$page"
    # Whether it runs is said at the end: the workers do.
    if is_older_than_what_it_reads "$page"; then
        run systemctl restart "$page" || true
    else
        run systemctl start "$page" || true
    fi
}

remove_page() {
    run systemctl --quiet disable --now "$page" || true
    run rm -f "$units/$page" "$units/$page.d/20-common.conf"
    run rmdir --ignore-fail-on-non-empty "$units/$page.d" || true
    run systemctl daemon-reload
}

# Enables the workers that should run, and stops those that should not.
choose_workers() {
    local unit i
    wanted=("$first")
    for ((i = 2; i <= ${workers:-1}; i++)); do
        wanted+=("quantum-marketstate@$i.service")
    done
    for unit in $(further_workers); do
        if [ -z "$workers" ]; then
            wanted+=("$unit")
        elif ! grep -qxF "$unit" < <(printf '%s\n' "${wanted[@]}"); then
            run systemctl --quiet disable --now "$unit"
        fi
    done
    for unit in "${wanted[@]}"; do
        run systemctl --quiet enable "$unit"
    done
}

# Restarts workers that are older than a file they read, and starts those that do not run.
# `systemctl` returns when the unit is ready or has failed.
start_workers() {
    local unit restart=(systemctl restart)
    if [ -n "$rolling" ]; then
        step "Replacing one worker after another, each when the one before is ready"
        # Otherwise the first worker takes all others with it.
        restart+=(--job-mode=ignore-dependencies)
    else
        step "Starting the workers and waiting until they are ready"
    fi
    run systemctl reset-failed 'quantum-marketstate*' || true
    for unit in "${wanted[@]}"; do
        if is_older_than_what_it_reads "$unit"; then
            run "${restart[@]}" "$unit" || return 1
        else
            run systemctl start "$unit" || return 1
        fi
    done
}

go_back() {
    local failed
    failed=$(linked current)
    journalctl --no-pager --quiet --lines=10 --unit="$first" --unit='quantum-marketstate@*' >&2 || true
    [ -n "$old" ] || fail "the workers do not become ready; systemd keeps trying"
    [ "$old" != "$failed" ] || fail "the workers do not become ready with these settings"
    echo "The workers do not become ready; going back to release $(basename "$old")." >&2
    link "$old" current
    [ -z "$older" ] || link "$older" previous
    install_units "$old/systemd"
    start_workers || fail "release $(basename "$old") does not become ready either"
    choose_timers "$old"
    choose_page "$old"
    fail "release $(basename "$failed") did not become ready; $(basename "$old") runs again"
}

leave_nothing_unfinished() {
    [ -n "$unfinished" ] || return 0
    rm -rf "$unfinished"
    echo "deploy.sh: could not build the release; the previous release still runs" >&2
}

remove_old_releases() {
    local release count=0
    while IFS= read -r release; do
        count=$((count + 1))
        if [ "$count" -gt "$releases_kept" ] && [ "$release" != "$(linked current)" ] &&
            [ "$release" != "$(linked previous)" ]; then
            run rm -rf "$release"
        fi
    done < <(find "$home/releases" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' 2>/dev/null |
        sort -rn | cut -d' ' -f2-)
}

show_result() {
    local i verdict=0
    if [ -n "$dry_run" ]; then
        echo "would: scripts/verify.sh; show status and log"
        return
    fi
    step "Status and log"
    systemctl --no-pager --lines=0 status "$first" 'quantum-marketstate@*.service' || true
    journalctl --no-pager --quiet --lines=10 --unit="$first" --unit='quantum-marketstate@*'
    step "Waiting until the backlog is processed"
    for ((i = 0; i < 60; i++)); do
        "$program" status --max-lag 500 >/dev/null && break
        sleep 1
    done
    step "Verifying"
    "$checkout/scripts/verify.sh" "${verify_options[@]}" || verdict=$?
    [ "$verdict" -eq 0 ] || {
        echo "deploy.sh: the workers run, but verify.sh found a problem (see above)." >&2
        exit 4
    }
    [ ! -e "$units/$page" ] || systemctl --quiet is-active "$page" || {
        journalctl --no-pager --quiet --lines=10 --unit="$page" >&2 || true
        echo "deploy.sh: the workers run, but $page does not (see above)." >&2
        exit 4
    }
    step "Release $(basename "$(linked current)") runs with ${#wanted[@]} worker(s)"
    [ -z "$invents" ] || step "SYNTHETIC PRICES: what these workers publish is invented"
}

# --- Helpers -----------------------------------------------------------------------------------------

# Workers that are enabled, or that run without being enabled.
further_workers() {
    {
        find "$units/$first.wants" -name 'quantum-marketstate@?*.service' -printf '%f\n' 2>/dev/null
        systemctl list-units --plain --no-legend 'quantum-marketstate@*.service' | cut -d' ' -f1
    } | sort -Vu
}

is_older_than_what_it_reads() {
    local unit=$1 since newer instance
    systemctl --quiet is-active "$unit" || return 1
    since=$(systemctl show --timestamp=us+utc --property=ExecMainStartTimestamp --value "$unit")
    instance=$(sed -n 's/^quantum-marketstate\([@-].*\)\.service$/\1/p' <<<"$unit")
    newer=$(find "$home/current" "$units/$first" "$units/$first.d" "$units/$unit" "$units/$unit.d" \
        "$units/quantum-marketstate@.service" "$units/quantum-marketstate@.service.d" \
        "$configuration/marketstate.env" "$configuration/marketstate.password" \
        "$configuration/marketstate$instance.env" "$configuration/marketstate$instance.password" \
        -newermt "$since" 2>/dev/null) || true
    [ -n "$newer" ]
}

# The target of one of our links; nothing if the link does not exist.
linked() {
    [ ! -L "$home/$1" ] || echo "$home/$(readlink "$home/$1")"
}

# Atomically, so that the link always exists.
link() {
    run ln -sfn "releases/$(basename "$1")" "$home/.$2"
    run mv -T "$home/.$2" "$home/$2"
}

# Leaves an identical file alone, because a file that is newer than a worker restarts that worker.
put() {
    cmp --silent "$1" "$2" || run install -D --mode="$3" "$1" "$2"
}

run() {
    if [ -n "$dry_run" ]; then
        echo "would: $*"
    else
        "$@"
    fi
}

is_yes() {
    [ -z "$assume_yes" ] || return 0
    [ -z "$dry_run" ] || return 1
    [ -t 0 ] || return 1
    asked "$1"
}

asked() {
    local answer=
    read -r -p "$1 [y/N] " answer
    [ "$answer" = y ] || [ "$answer" = yes ]
}

step() {
    echo "==> $*"
}

fail() {
    echo "deploy.sh: $*" >&2
    exit 1
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --workers)
            [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || usage "--workers needs a number from 1 to 99"
            workers=$2
            shift
            ;;
        --wheels)
            [ -d "${2:-}" ] || usage "--wheels needs a folder"
            wheels=$(cd "$2" && pwd)
            shift
            ;;
        --rolling) rolling=yes ;;
        --with-view) view=yes ;;
        --without-view) view=no ;;
        --with-metrics) metrics=yes ;;
        --without-metrics) metrics=no ;;
        --with-page) web=yes ;;
        --without-page) web=no ;;
        --rollback) action=rollback ;;
        --uninstall) action=uninstall ;;
        --yes) assume_yes=yes ;;
        --synthetic) may_invent=yes ;;
        --dry-run) dry_run=yes ;;
        --help | -h)
            sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"
            exit
            ;;
        --)
            shift
            verify_options=("$@")
            break
            ;;
        *) usage "$1 is not an option" ;;
        esac
        shift
    done
}

usage() {
    echo "deploy.sh: $1; see scripts/deploy.sh --help" >&2
    exit 2
}

main "$@"
