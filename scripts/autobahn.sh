#!/usr/bin/env bash
# Prints a command that starts wstest, the program of the Autobahn testsuite. It is installed once under
# ~/.cache/pushcluster.
# The suite needs Python 2, which Debian 12 and later do not have. Without Python 2, prints a message and exits with 3.
set -euo pipefail

SUITE_VERSION=25.10.1

say() { printf '%s\n' "$*" >&2; }

# A Python 2.7 in the PATH or of pyenv.
python=
if python2.7 -c '' 2>/dev/null; then
  python=$(python2.7 -c 'import sys; print(sys.executable)')
elif command -v pyenv >/dev/null; then
  version=$(pyenv versions --bare 2>/dev/null | grep '^2\.7' | tail -n 1 || true)
  [ -z "$version" ] || python="$(pyenv root)/versions/$version/bin/python2.7"
fi
if [ -z "$python" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
  say "the Autobahn testsuite needs Python 2.7 with pip, and this host has none"
  exit 3
fi

requirements="$(cd "$(dirname "$0")/.." && pwd)/test/clients/autobahn/requirements.txt"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster"
home="$cache/autobahn-$SUITE_VERSION"
if [ ! -e "$home/complete" ]; then
  say "pushcluster: installing the Autobahn testsuite $SUITE_VERSION in $home (once)"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/autobahn-setup.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install -q --no-deps --target "$work" -r "$requirements" >"$work.log" 2>&1; then
    tail -n 20 "$work.log" >&2
    rm -f "$work.log"
    say "pip could not install the Autobahn testsuite"
    exit 3
  fi
  rm -f "$work.log"
  # With --target, pip does not write the __init__.py that makes this namespace package importable in Python 2.
  touch "$work/zope/__init__.py"
  touch "$work/complete"
  rm -rf "$home"
  mv "$work" "$home"
fi
echo "env PYTHONPATH=$home PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore $python $home/bin/wstest"
