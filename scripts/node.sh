#!/usr/bin/env bash
# Prints the folder of a Node that can load uWebSockets.js (Node 24 or newer, glibc 2.38 or newer). Uses the system's
# Node if it is suitable. Otherwise creates one under ~/.cache/pushcluster from npm's node-linux-* package and, if the
# glibc is too old, Debian 13's C library. Needs no root.
set -euo pipefail

NODE_VERSION=24.21.0
need_node=24
need_glibc=2.38

say() { printf '%s\n' "$*" >&2; }
die() { say "pushcluster: $*"; exit 1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

[ "$(uname -s)" = Linux ] || die "this host runs $(uname -s); the gateway's engine is built for Linux here (x86-64 or arm64)"
case "$(uname -m)" in
  x86_64) arch=x64 loader=ld-linux-x86-64.so.2 ;;
  aarch64) arch=arm64 loader=ld-linux-aarch64.so.1 ;;
  *) die "unsupported processor $(uname -m): x86-64 or arm64 is needed" ;;
esac
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}')
[ -n "$glibc" ] || die "this host has no glibc (musl?): glibc $need_glibc or newer, or Debian 12 or newer, is needed"

if command -v node >/dev/null && at_least "$glibc" "$need_glibc"; then
  system=$(node -p process.versions.node 2>/dev/null || echo 0)
  case "${system%%.*}" in
    24|25) dirname "$(command -v node)"; exit 0 ;;
  esac
fi

flavour=native
at_least "$glibc" "$need_glibc" || flavour=trixie
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster"
home="$cache/node-$NODE_VERSION-$arch-$flavour"
if [ -x "$home/bin/node" ] && [ -e "$home/complete" ]; then echo "$home/bin"; exit 0; fi

command -v npm >/dev/null || die "npm is needed to fetch Node $NODE_VERSION: install Node 20 or newer with npm"
say "pushcluster: setting up Node $NODE_VERSION in $home (once)"
mkdir -p "$cache"
work=$(mktemp -d "$cache/node-setup.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/npm" "$work/out/bin" "$work/out/lib"
(cd "$work/npm" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --no-save --silent "node-linux-$arch@$NODE_VERSION" "npm@11" >&2) \
  || die "npm could not fetch node-linux-$arch@$NODE_VERSION"
cp "$work/npm/node_modules/node-linux-$arch/bin/node" "$work/out/bin/node"
cp -R "$work/npm/node_modules/npm" "$work/out/lib/npm"
for tool in npm npx; do
  printf '#!/bin/sh\nhere=$(dirname "$0")\nPATH="$here:$PATH" exec "$here/node" "$here/../lib/npm/bin/%s-cli.js" "$@"\n' "$tool" >"$work/out/bin/$tool"
  chmod +x "$work/out/bin/$tool"
done

if [ "$flavour" = trixie ]; then
  say "pushcluster: this host has glibc $glibc, the engine needs $need_glibc: adding Debian 13's C library beside that Node"
  command -v apt-get >/dev/null || die "glibc $glibc is too old and there is no apt-get to fetch a newer one: use a host with glibc $need_glibc or newer, such as Debian 13 or Ubuntu 24.04"
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -Eo 'https?://[^ ]+/debian/?($| )' | head -n 1 | tr -d ' ' || true)
  [ -n "$mirror" ] || mirror=http://deb.debian.org/debian
  apt="$work/apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work/debs"
  : >"$apt/status"
  # patchelf 0.18 (Debian 13) produces a Node that crashes; 0.14 (Debian 12) works.
  for suite in trixie bookworm; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
  done >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
  export APT_CONFIG="$apt/apt.conf"
  # A private apt configuration: the host's packages stay unchanged. patchelf is only unpacked, not installed.
  apt-get -q update >&2 || die "apt could not read Debian 13's package list from $mirror"
  (cd "$work/debs" && apt-get -q download libc6/trixie libstdc++6/trixie libgcc-s1/trixie patchelf/bookworm >&2) || die "apt could not fetch Debian 13's C library from $mirror"
  unset APT_CONFIG
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  mkdir -p "$work/out/glibc"
  libs=$(dirname "$(find "$work/root/usr/lib" -name libc.so.6 | head -n 1)")
  cp -L "$libs"/*.so* "$work/out/glibc/"
  # Host names are resolved with the host's NSS plug-ins if they load; `files` and `dns` are part of libc.
  patchelf=$(find "$work/root" -path '*bin/patchelf' | head -n 1)
  run="$work/out/glibc/$loader --library-path $work/out/glibc"
  $run "$patchelf" --set-interpreter "$home/glibc/$loader" --set-rpath "$home/glibc" "$work/out/bin/node"
fi
touch "$work/out/complete"
rm -rf "$home"
mv "$work/out" "$home"
"$home/bin/node" -e 0 || die "the Node set up in $home does not start on this host"
echo "$home/bin"
