#!/usr/bin/env bash
# Builds images without a registry and a daemon, and prints a line for each: its name and the OCI archive that has it.
#   images.sh [--tag TAG] NAME...     operator, node-tuning, gateway, logic (from the Dockerfile), nats, pause, coredns, metrics-server, base
# Archives are kept under ~/.cache/pushcluster by what they are made of: nothing is built twice. Needs root and Debian's
# buildah and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

# The Dockerfile's base, made here under its own name from the same parts: Debian 13 and Node.
BASE=docker.io/library/node:24-trixie-slim
NODE_VERSION=$(sed -n 's/^NODE_VERSION=//p' scripts/node.sh)
NPM_VERSION=11.21.2
COREDNS_VERSION=1.14.7
METRICS_SERVER_VERSION=0.9.0
# The tests' server under the name of the image that the chart names.
NATS_VERSION=$(sed -n 's/^NATS_VERSION=//p' scripts/nats-server.sh)

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

tag=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
if [ "${1:-}" = --tag ]; then tag=${2:?--tag needs a tag}; shift 2; fi
[ $# -gt 0 ] || die "usage: scripts/images.sh [--tag TAG] NAME..."
[ "$(id -u)" -eq 0 ] || die "building images needs root"
for tool in buildah debootstrap; do command -v "$tool" >/dev/null || die "$tool is missing: apt-get install buildah debootstrap"; done

home="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster/images"
mkdir -p "$home"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building images in $home: waiting for it"; flock 9; }
work=$(mktemp -d "$home/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Images and layers of their own, apart from what else this machine has.
buildah() { command buildah --root "$home/storage" --runroot "$home/run" --storage-driver "${STORAGE_DRIVER:-overlay}" "$@"; }

hash_of() { sha256sum | cut -c 1-12; }
# Everything in a folder, by path and content; times and owners don't matter.
content() { find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; }

kube_tools() { scripts/kube-tools.sh cluster; }

# finished NAME HASH: where the archive belongs; older ones of that name go.
finished() {
  mv -f "$work/$1.tar" "$home/$1-$2.tar"
  ls -t "$home/$1"-*.tar | tail -n +5 | xargs -r rm -f
}

build_base() {
  local arch mirror root="$work/base"
  case "$(uname -m)" in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) die "unsupported processor $(uname -m)" ;; esac
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -Eo 'https?://[^ ]+/debian/?($| )' | head -n 1 | tr -d ' ' || true)
  debootstrap --variant=minbase trixie "$root" ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap could not make a Debian 13"; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,locale,info}/*
  mkdir -p "$work/npm"
  (cd "$work/npm" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --no-save --silent "node-linux-$arch@$NODE_VERSION" "npm@$NPM_VERSION" >&2) \
    || die "npm could not fetch Node $NODE_VERSION"
  install -m 755 "$work/npm/node_modules/node-linux-$arch/bin/node" "$root/usr/local/bin/node"
  mkdir -p "$root/usr/local/lib/node_modules"
  cp -R "$work/npm/node_modules/npm" "$root/usr/local/lib/node_modules/npm"
  for tool in npm npx; do ln -s "../lib/node_modules/npm/bin/$tool-cli.js" "$root/usr/local/bin/$tool"; done
  local container
  container=$(buildah from scratch)
  buildah add -q "$container" "$root" / >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$container"
  buildah commit -q --rm "$container" "$BASE" >/dev/null
}

# An image of one program that needs nothing else.
build_program() {
  local name=$1 reference=$2 program=$3 container file
  file=$(basename "$program")
  container=$(buildah from scratch)
  buildah copy -q "$container" "$program" "/$file" >/dev/null
  buildah config --entrypoint "[\"/$file\"]" --cmd '' --user 65535:65535 "$container"
  buildah commit -q --rm "$container" "$reference" >/dev/null
  buildah push -q "$reference" "oci-archive:$work/$name.tar:$reference"
}

build_product() {
  local name=$1 reference=$2 npmrc="$work/npmrc" args=() container
  # The registry and the authorities that this machine's npm trusts are needed while it builds, and are not in the image.
  {
    echo "registry=$(npm config get registry 2>/dev/null)"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || echo cafile=/etc/ssl/certs/ca-certificates.crt
  } >"$npmrc"
  [ ! -d /etc/ssl/certs ] || args+=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
  buildah bud --layers --pull-never --isolation chroot --target "$name" --secret "id=npmrc,src=$npmrc" "${args[@]}" \
    -t "$reference" . >"$work/$name.log" 2>&1 || { tail -n 40 "$work/$name.log" >&2; die "the image of $name could not be built"; }
  # Not as arguments of the build: an older buildah takes layers from before although they have changed.
  container=$(buildah from "$reference")
  buildah config --label "org.opencontainers.image.version=$tag" \
    --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)" "$container"
  buildah commit -q --rm "$container" "$reference" >/dev/null
  buildah push -q "$reference" "oci-archive:$work/$name.tar:$reference"
}

base_hash=$(sed -n '/^build_base()/,/^}/p; /^BASE=/p; /^NPM_VERSION=/p' scripts/images.sh | cat - <(echo "$NODE_VERSION") | hash_of)
ensure_base() {
  [ -e "$home/base-$base_hash.complete" ] && buildah inspect "$BASE" >/dev/null 2>&1 && return
  say "building $BASE from Debian 13 and Node $NODE_VERSION (once)"
  build_base
  rm -f "$home"/base-*.complete
  touch "$home/base-$base_hash.complete"
}

for name in "$@"; do
  began=$SECONDS
  case "$name" in
    base)
      ensure_base
      echo "base $BASE"
      continue ;;
    nats | pause | coredns | metrics-server)
      case "$name" in
        nats) program=$(scripts/nats-server.sh) ;;
        *) program="$(kube_tools)/$name" ;;
      esac
      case "$name" in
        nats) reference=docker.io/library/nats:$NATS_VERSION ;;
        pause) reference=localhost/pause:3 ;;
        coredns) reference=localhost/coredns:$COREDNS_VERSION ;;
        metrics-server) reference=localhost/metrics-server:$METRICS_SERVER_VERSION ;;
      esac
      hash=$(cat <(declare -f build_program) <(echo "$reference") "$program" | hash_of)
      make=(build_program "$name" "$reference" "$program") ;;
    operator | node-tuning | gateway | logic)
      reference=docker.io/pushcluster/$name:$tag
      hash=$({ echo "$base_hash $reference"; declare -f build_product; cat Dockerfile .dockerignore; content package.json package-lock.json scripts/strip.ts protocol runtime gateway logic operator client */package.json \
        -not -path '*/node_modules/*' -not -path '*/dist/*' -not -name '*.test.ts' -not -name '*.tmp.ts'; } | hash_of)
      make=(build_product "$name" "$reference") ;;
    *) die "there is no image \"$name\"" ;;
  esac
  if [ ! -e "$home/$name-$hash.tar" ]; then
    case "$name" in operator | node-tuning | gateway | logic) ensure_base ;; esac
    say "building $reference"
    "${make[@]}"
    finished "$name" "$hash"
    say "$reference is built ($((SECONDS - began)) s, $(du -m "$home/$name-$hash.tar" | cut -f 1) MB as an archive)"
  fi
  echo "$name $home/$name-$hash.tar"
done
