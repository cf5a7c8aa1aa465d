#!/bin/sh
# Make .venv from requirements.lock, or leave it alone when it is whole. Called by the Makefile.
#   setup.sh check    print one line if this machine has no fitting Python, else nothing
#   setup.sh install  install, completing what an interrupted run left behind
# PYTHON names the interpreter; without it the usual names are tried.
set -eu
cd "$(dirname "$0")/.."
VENV=.venv
STAMP=$VENV/.complete
LOG=$VENV/install.log

# The packages hold absolute paths, so a moved or copied checkout installs anew.
stamp() {
    "$VENV/bin/python" -I - <<'PY' 2>/dev/null
import hashlib, os, sys
lock = hashlib.sha256(open("requirements.lock", "rb").read()).hexdigest()
print(lock, "%d.%d" % sys.version_info[:2], os.getcwd())
PY
}

is_whole() {
    [ -f "$STAMP" ] && [ -x "$VENV/bin/python" ] && [ "$(stamp)" = "$(cat "$STAMP")" ]
}

# Prints "ok" or what is wrong with an interpreter; must run under Python 2, too.
judge() {
    "$1" -c '
import platform, struct, sys
version = sys.version_info[:2]
name = "Python %d.%d" % version
if version < (3, 11):
    print(name + " is too old")
elif version > (3, 13):
    print(name + " is too new for TensorFlow")
elif struct.calcsize("P") < 8:
    print("a 32-bit " + name + " cannot run TensorFlow")
elif platform.python_implementation() != "CPython":
    print("TensorFlow does not run on " + platform.python_implementation())
elif not getattr(sys, "_is_gil_enabled", lambda: True)():
    print("TensorFlow does not run on a free-threaded " + name)
else:
    import importlib
    def there(module):
        try:
            return importlib.import_module(module).__file__ is not None
        except ImportError:
            return False
    # Some distributions ship ensurepip apart; another pip will do.
    if there("venv") and (there("ensurepip") or there("virtualenv") or there("pip")):
        print("ok")
    else:
        print("it lacks ensurepip (apt-get install python%d.%d-venv)" % version)
' 2>/dev/null || echo "it does not start"
}

# Sets FOUND to an interpreter, or PROBLEM to one line.
find_python() {
    FOUND=
    PROBLEM=
    remedy="install Python 3.11, 3.12 or 3.13 (64 bit), or name one: make run PYTHON=/path/to/python3.11"
    if [ -n "${PYTHON:-}" ]; then
        if ! command -v "$PYTHON" >/dev/null 2>&1; then
            PROBLEM="PYTHON=$PYTHON is not there; $remedy"
            return
        fi
        verdict=$(judge "$PYTHON")
        if [ "$verdict" = ok ]; then FOUND=$PYTHON; else PROBLEM="PYTHON=$PYTHON: $verdict; $remedy"; fi
        return
    fi
    for name in python3.11 python3.12 python3.13 python3 python; do
        command -v "$name" >/dev/null 2>&1 || continue
        verdict=$(judge "$name")
        if [ "$verdict" = ok ]; then
            FOUND=$name
            return
        fi
        case $verdict in
        "it does not start") ;; # such as a version manager's stand-in
        *) PROBLEM=${PROBLEM:-"$name: $verdict; $remedy"} ;;
        esac
    done
    PROBLEM=${PROBLEM:-"no Python found; $remedy"}
}

# Some distributions ship Python without the pip that `venv` would copy; borrow another one.
make_environment() {
    rm -rf "$VENV"
    if "$1" -m venv "$VENV" >/dev/null 2>&1; then return; fi
    rm -rf "$VENV"
    if "$1" -m virtualenv --quiet "$VENV" >/dev/null 2>&1; then return; fi
    rm -rf "$VENV"
    if "$1" -m pip --version >/dev/null 2>&1 && "$1" -m venv --without-pip "$VENV" &&
        "$1" -m pip --python "$VENV/bin/python" --quiet install pip >/dev/null 2>&1; then
        return
    fi
    rm -rf "$VENV"
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "Error: $1 cannot make an environment in $PWD: install its ensurepip (apt-get install python$version-venv), and check free space and permissions" >&2
    exit 1
}

install() {
    # A package without RECORD was cut off while it was unpacked, and pip would take it for whole.
    "$VENV/bin/python" -I - <<'PY'
import importlib.metadata, shutil
for package in importlib.metadata.distributions():
    if package.read_text("RECORD") is None:
        shutil.rmtree(package._path, ignore_errors=True)
PY
    echo "Installing the pinned packages into $PWD/$VENV (about 3 GB; two to ten minutes; log: $LOG)"
    if ! env -u PIP_TARGET -u PIP_PREFIX PIP_USER=0 "$VENV/bin/python" -I -m pip install \
        --disable-pip-version-check --require-hashes --requirement requirements.lock >"$LOG" 2>&1; then
        tail -n 20 "$LOG" >&2
        echo "Error: the packages of requirements.lock could not be installed (see above, and all of it in $LOG); run make again to go on" >&2
        exit 1
    fi
    stamp >"$STAMP.part"
    mv "$STAMP.part" "$STAMP"
}

case ${1:-} in
check)
    is_whole || find_python
    echo "${PROBLEM:-}"
    ;;
install)
    # Two terminals at once: the second waits for the first.
    if command -v flock >/dev/null 2>&1; then
        exec 9<requirements.lock
        flock 9
    fi
    is_whole && exit 0
    find_python
    if [ -z "$FOUND" ]; then
        echo "Error: $PROBLEM" >&2
        exit 1
    fi
    # An older lock file's packages go; an interrupted installation is completed.
    if [ -f "$STAMP" ] || ! "$VENV/bin/python" -I -c 'import pip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        make_environment "$FOUND"
    fi
    install
    ;;
*)
    echo "usage: setup.sh check|install" >&2
    exit 2
    ;;
esac
