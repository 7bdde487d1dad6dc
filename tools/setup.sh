# shellcheck shell=bash
# Sourced by demo, test and tools/lock, which set ROOT: finds Python 3.11, makes .venv from a lock.
#
# $STAMP is written last and says what .venv was made from: a second run needs neither pip nor the
# network, and a .venv without the right stamp (half made, moved, other locks) is made anew.

# None of these may steer what is imported or where pip installs.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

VENV=$ROOT/.venv
STAMP=$VENV/gnomon-stamp

# Sets python to the interpreter itself (no shim, and never one in a .venv that may be removed),
# or ends the script. One that was asked for by name is not replaced by another.
find_python() {
    local candidates=(python3.11 python3) candidate probe='
import importlib.util, sys
assert sys.version_info[:2] == (3, 11) and importlib.util.find_spec("ensurepip")
print(sys._base_executable)'
    [ -n "${PYTHON:-}" ] && candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        python=$("$candidate" -I -c "$probe" 2>/dev/null) && [ -x "$python" ] && return
    done
    echo "gnomon: needs Python 3.11 with venv, and found none as: ${candidates[*]}" >&2
    exit 2
}

# Prints a hash of all that .venv depends on: the interpreter, this folder's path, what is locked.
fingerprint() {
    "$python" -I -c '
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {root}".encode())
for name in "pyproject.toml", "requirements.lock", "requirements-dev.lock", "tools/setup.sh":
    digest.update((root / name).read_bytes())
print(digest.hexdigest())' "$ROOT"
}

fresh_venv() {
    rm -rf "$VENV" && "$python" -m venv "$VENV"
}

# -qq: a pip.conf with a dead extra index would warn once a package; errors are still shown.
install() {
    "$VENV/bin/python" -m pip --disable-pip-version-check --no-input install -qq "$@"
}

install_lock() {
    install --require-hashes --no-deps -r "$ROOT/$1" &&
        (cd "$ROOT" && install --no-deps --no-build-isolation -e .)
}

# setup runtime|dev: afterwards .venv holds that lock, or more, and gnomon itself.
setup() {
    local lock=requirements.lock print stamp=
    [ "$1" = dev ] && lock=requirements-dev.lock
    find_python

    # Two scripts at once: the second waits, then finds all done.
    exec 9>"$ROOT/.venv.lock" || return
    if command -v flock >/dev/null && ! flock -n 9; then
        echo "gnomon: waiting for another run to finish making .venv" >&2
        flock 9 || true # a file system without locks
    fi

    print=$(fingerprint) || return
    [ -x "$VENV/bin/gnomon" ] && [ -f "$STAMP" ] && stamp=$(cat "$STAMP")
    case $stamp in
        "$print $1" | "$print dev") ;;
        *)
            echo "gnomon: making .venv from $lock; this takes about a minute, once" >&2
            if [ "$stamp" = "$print runtime" ]; then
                rm "$STAMP" # the dev lock adds to the runtime lock, at the same versions
            else
                fresh_venv || return
            fi
            install_lock "$lock" && echo "$print $1" >"$STAMP" || return
            ;;
    esac
    exec 9>&- # what is started next must not hold the lock
}
