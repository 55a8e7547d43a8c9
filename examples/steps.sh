# Sourced by the examples that show something step by step: source examples/steps.sh WORK_FOLDER LOG, at the top of the repository.
# What each step says goes to LOG, its last lines to the terminal when one fails. Ends what the example has started.
source softhsm-tests/install.sh

work=$1
log=$2
: >"$log"
steps=0
title=
children=() # what ends with the example: servers, and a build that somebody stops
home=

# What does not end by itself within two seconds is ended: while it starts, a server may take no notice.
stop_children() {
    local child tries
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    for child in "${children[@]}"; do
        for ((tries = 0; tries < 20; tries++)); do
            kill -0 "$child" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    done
    children=()
}

# What an example has made besides, and removes at its end.
clean_up_besides() { :; }

clean_up() {
    local status=$?
    stop_children
    [ -z "$home" ] || rm -rf "$home"
    clean_up_besides
    if [ "$status" -ne 0 ]; then
        printf '\n   ✗ %s\n' "$title"
        echo "   The last lines of $log:"
        tail -n 25 "$log" | sed 's/^/     /'
        echo "Step $((steps + 1)) failed; $steps steps passed."
    fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# step TITLE: what is done now.
step() {
    title=$1
    printf '\n%2d. %s\n' $((steps + 1)) "$title"
    echo "== $title" >>"$log"
}

# ok [WORDS]: the step has passed.
ok() {
    steps=$((steps + 1))
    printf '   ✓ %s\n' "${*:-ok}"
}

# The last line: all steps have passed.
all_ok() { echo "All $steps steps passed in $(duration "$SECONDS"). What was made is in $work."; }

indent() { sed 's/^/     /'; }

# refused WORDS COMMAND…: the command must end with an error by itself, and say these words about it.
refused() {
    local words=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        printf '%s\n' "$output" >>"$log"
        echo "this should have been refused: $*" >>"$log"
        return 1
    fi
    printf '%s\n' "$output" >>"$log"
    grep -q -e "$words" <<<"$output"
}

# A port that nothing listens on, below those that the system gives to clients.
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); do
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# Runs a long command and shows how long it has been running.
with_clock() {
    local pid started=$SECONDS shown=0 elapsed
    "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    children=("$pid") # the terminal's Ctrl-C does not reach what runs in the background
    while kill -0 "$pid" 2>/dev/null; do
        elapsed=$((SECONDS - started))
        if [ -t 1 ]; then
            printf '\r     %s  %-60.60s' "$(duration "$elapsed")" "$(grep -a Compiling "$log" | tail -n1 | tr -s ' ')"
        elif [ $((elapsed - shown)) -ge 30 ]; then
            shown=$elapsed
            printf '     %s …\n' "$(duration "$elapsed")"
        fi
        sleep 0.5
    done
    [ ! -t 1 ] || printf '\r%80s\r' ''
    children=()
    wait "$pid"
}

# packages PACKAGE…: Debian's, with a line for each call of apt-get.
packages() { install_packages "$@" > >(tee -a "$log" | grep '^  apt-get' || true) 2>>"$log"; }

# A step: builds the release module and the command, which are $module and $ctk from then on. Rust has been found.
build() {
    local started
    step "Building the release module and the command ctk (some minutes the first time)"
    # A machine without a cargo folder stays one.
    if [ -z "${CARGO_HOME:-}" ] && [ ! -d "${HOME:-/nonexistent}/.cargo" ]; then
        export CARGO_HOME=$work/cargo-home
    fi
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} CARGO_TERM_COLOR=never
    started=$SECONDS
    with_clock cargo build --release --locked -p ctk-pkcs11 -p ctk
    module=$CARGO_TARGET_DIR/release/libctk_pkcs11.so
    ctk=$CARGO_TARGET_DIR/release/ctk
    ok "$module, $(($(stat -c %s "$module") / 1024)) KiB, built in $(duration $((SECONDS - started)))"
}

# From here on nothing of the person's own is in reach: a home folder that is gone at the end, and the folder $demo to work in.
leave_home() {
    demo=$work/demo
    rm -rf "$demo"
    mkdir -p -m 700 "$demo"
    # A configuration is believed only if nobody else could have written to a folder above it, and a checkout may be open to a
    # group.
    home=$(mktemp -d)
    export HOME=$home
    unset XDG_CONFIG_HOME CTK_CONFIG CTK_LOG
    cd "$demo"
}
