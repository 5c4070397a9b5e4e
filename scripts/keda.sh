#!/usr/bin/env bash
# Prints the folder of KEDA's controller (operator) and metrics API (adapter). They are built once with Go under
# ~/.cache/pushcluster, from the module that released-crds.sh names: its go.mod counts only where it is the main one.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

crds=$(scripts/released-crds.sh keda)
released=${crds%/config/crd/bases}
version=${released##*@}
home="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster/keda-${version#v}"
if [ -d "$home/bin" ]; then echo "$home/bin"; exit 0; fi

mkdir -p "$home"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building KEDA in $home: waiting for it"; flock 9; }
if [ ! -d "$home/bin" ]; then
  say "building KEDA $version in $home (once; it takes many minutes)"
  began=$SECONDS
  work=$(mktemp -d "$home/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # Go keeps modules read-only.
  cp -r "$released" "$work/source"
  chmod -R u+w "$work/source"
  mkdir "$work/bin"
  (cd "$work/source" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/bin/" ./cmd/operator ./cmd/adapter) >&2 \
    || die "Go could not build KEDA $version"
  # Whole or not at all.
  mv "$work/bin" "$home/bin"
  say "KEDA is built ($((SECONDS - began)) s)"
fi
echo "$home/bin"
