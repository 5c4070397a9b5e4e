#!/usr/bin/env bash
# Builds images without a registry and without a daemon. Prints one line for each image: its name and its OCI archive.
#   images.sh [--tag TAG] [--arch amd64|arm64] [--source FOLDER] NAME...
#   images.sh --layout FOLDER [--registry REGISTRY] [--base IMAGE@DIGEST] NAME...
# Names: operator, node-tuning, gateway, logic (from the Dockerfile), nats, pause, coredns, metrics-server, base.
# For another processor than this machine's: only the first four, tagged TAG-ARCH. No emulator is needed.
# With --source: the images of another version of the Dockerfile, whose sources are in FOLDER.
# With --layout: for publication, the first four for both processors, in one OCI layout, under their names in REGISTRY
# (localhost). Built without caches, with the same digests each time. --base is pulled; without it, the base made here is
# used.
# Archives are cached under ~/.cache/pushcluster by the hash of their inputs, so nothing is built twice. Needs root and
# Debian's buildah and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

# The base image of the Dockerfile, built here under the same name from the same parts: Debian 13 and Node.
BASE=docker.io/library/node:24-trixie-slim
# A manifest with the base images of both processors.
BOTH_BASES=localhost/node:24-trixie-slim
NODE_VERSION=$(sed -n 's/^NODE_VERSION=//p' scripts/node.sh)
NPM_VERSION=11.21.2
COREDNS_VERSION=1.14.7
METRICS_SERVER_VERSION=0.9.0
# The nats-server of the tests, under the image name of the chart.
NATS_VERSION=$(sed -n 's/^NATS_VERSION=//p' scripts/nats-server.sh)

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

tag=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
case "$(uname -m)" in x86_64) own_arch=amd64 ;; aarch64) own_arch=arm64 ;; *) die "unsupported processor $(uname -m)" ;; esac
arch=$own_arch layout='' registry=localhost given_base='' source=.
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --tag) tag=${2:?--tag needs a tag} ;;
    --arch) arch=${2:?--arch needs amd64 or arm64} ;;
    --layout) layout=$(realpath -m "${2:?--layout needs a folder}") ;;
    --source) source=$(realpath "${2:?--source needs a folder}") ;;
    --registry) registry=${2:?--registry needs a registry} ;;
    --base) given_base=${2:?--base needs an image with its digest} ;;
    *) die "there is no option $1" ;;
  esac
  shift 2
done
case "$arch" in amd64 | arm64) ;; *) die "images are for amd64 and arm64, not for $arch" ;; esac
[ $# -gt 0 ] || die "usage: scripts/images.sh [--tag TAG] [--arch amd64|arm64] [--source FOLDER] | --layout FOLDER [--registry REGISTRY] [--base IMAGE@DIGEST] NAME..."
[ "$(id -u)" -eq 0 ] || die "building images needs root"
for tool in buildah debootstrap; do command -v "$tool" >/dev/null || die "$tool is missing: apt-get install buildah debootstrap"; done

home="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster/images"
mkdir -p "$home"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building images in $home: waiting for it"; flock 9; }
work=$(mktemp -d "$home/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Separate storage, so that images of this machine stay unchanged.
buildah() { command buildah --root "$home/storage" --runroot "$home/run" --storage-driver "${STORAGE_DRIVER:-overlay}" "$@"; }

hash_of() { sha256sum | cut -c 1-12; }
# Hashes of all files in a folder with their paths; times and owners have no effect.
content() { find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; }

is_foreign() { [ "$arch" != "$own_arch" ]; }

kube_tools() { scripts/kube-tools.sh cluster; }

# finished NAME KEPT HASH: where the archive belongs; older ones that are kept under that name go.
finished() {
  mv -f "$work/$1.tar" "$home/$2-$3.tar"
  ls -t "$home/$2"-*.tar | tail -n +5 | xargs -r rm -f
}

build_base() {
  local arch=$1 reference=$2 mirror node=node-linux-${1/amd64/x64} foreign=() force=() root="$work/base-$1"
  # npm refuses to install packages for another processor unless forced.
  [ "$arch" = "$own_arch" ] || { foreign=(--foreign); force=(--force); }
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -Eo 'https?://[^ ]+/debian/?($| )' | head -n 1 | tr -d ' ' || true)
  debootstrap "${foreign[@]}" --arch="$arch" --variant=minbase trixie "$root" ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap could not make a Debian 13"; }
  # Packages that are only unpacked have not been listed yet.
  for deb in "$root"/var/cache/apt/archives/*.deb; do
    [ "$arch" != "$own_arch" ] || break
    { dpkg-deb -f "$deb"; printf 'Status: install ok unpacked\n\n'; } >>"$work/status-$arch"
  done
  [ "$arch" = "$own_arch" ] || mv "$work/status-$arch" "$root/var/lib/dpkg/status"
  rm -rf "$root"/debootstrap "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{man,locale,info}/*
  find "$root/usr/share/doc" -type f -not -name copyright -delete
  mkdir -p "$work/npm-$arch"
  (cd "$work/npm-$arch" && echo '{"private":true}' >package.json && npm install "${force[@]}" --no-audit --no-fund --no-save --silent "$node@$NODE_VERSION" "npm@$NPM_VERSION" >&2) \
    || die "npm could not fetch Node $NODE_VERSION for $arch"
  mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules"
  install -m 755 "$work/npm-$arch/node_modules/$node/bin/node" "$root/usr/local/bin/node"
  cp -R "$work/npm-$arch/node_modules/npm" "$root/usr/local/lib/node_modules/npm"
  for tool in npm npx; do ln -s "../lib/node_modules/npm/bin/$tool-cli.js" "$root/usr/local/bin/$tool"; done
  local container
  container=$(buildah from --arch "$arch" scratch)
  buildah add -q "$container" "$root" / >/dev/null
  buildah config --arch "$arch" --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$container"
  buildah commit -q --rm "$container" "$reference" >/dev/null
}

# Builds an image of one program without dependencies.
build_program() {
  local name=$1 reference=$2 program=$3 container file
  file=$(basename "$program")
  container=$(buildah from scratch)
  buildah copy -q "$container" "$program" "/$file" >/dev/null
  # The official image of NATS has its program in the PATH, too.
  buildah config --entrypoint "[\"/$file\"]" --cmd '' --env PATH=/ --user 65535:65535 "$container"
  buildah commit -q --rm "$container" "$reference" >/dev/null
  buildah push -q "$reference" "oci-archive:$work/$name.tar:$reference"
}

# bud NAME REFERENCE ARG...: builds an image of the Dockerfile. All its files are of the same time, so that the same
# contents have the same digest.
bud() {
  local name=$1 reference=$2 npmrc="$work/npmrc" certificates=()
  # The build uses the registry and the certificate authorities of this machine's npm; the image does not contain them.
  {
    echo "registry=$(npm config get registry 2>/dev/null)"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || echo cafile=/etc/ssl/certs/ca-certificates.crt
  } >"$npmrc"
  [ ! -d /etc/ssl/certs ] || certificates=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
  # Labels are set here and not by build arguments: an older buildah reuses cached layers although an argument has
  # changed.
  buildah bud --platform "linux/$arch" --build-arg "BUILDPLATFORM=linux/$own_arch" --isolation chroot --target "$name" \
    --secret "id=npmrc,src=$npmrc" "${certificates[@]}" --timestamp 0 \
    --label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision" \
    "${@:3}" -t "$reference" "$source" >"$work/$name.log" 2>&1 || { tail -n 40 "$work/$name.log" >&2; die "the image of $name could not be built"; }
}

build_product() {
  local args=(--layers)
  # Without this, buildah would reuse cached layers of the other processor.
  ! is_foreign || args=(--layers=false --build-arg "NODE_IMAGE=$BOTH_BASES")
  bud "$1" "$2" --pull-never "${args[@]}"
  buildah push -q "$2" "oci-archive:$work/$1.tar:$2"
}

# add_to_layout NAME: the image for both processors, as one.
add_to_layout() {
  local name=$1 list=localhost/layout-$1 reference=$registry/pushcluster/$1:$version
  local base=(--pull-never --build-arg "NODE_IMAGE=$BOTH_BASES")
  if [ -n "$given_base" ]; then
    base=(--pull --build-arg "NODE_IMAGE=$given_base" --label "org.opencontainers.image.base.name=${given_base%@*}" --label "org.opencontainers.image.base.digest=${given_base#*@}")
  fi
  buildah manifest rm "$list" >/dev/null 2>&1 || true
  buildah manifest create "$list" >/dev/null
  for arch in amd64 arm64; do
    bud "$name" "$list-$arch" --layers=false "${base[@]}"
    buildah manifest add --arch "$arch" "$list" "containers-storage:$list-$arch" >/dev/null
  done
  buildah manifest push -q --all --format oci "$list" "oci:$layout:$reference" >/dev/null
  buildah manifest rm "$list" >/dev/null
  buildah rmi "$list"-{amd64,arm64} >/dev/null
}

base_hash=$(sed -n '/^build_base()/,/^}/p; /^BASE=/p; /^NPM_VERSION=/p' scripts/images.sh | cat - <(echo "$NODE_VERSION") | hash_of)
# ensure_base_for ARCH REFERENCE: by ARCH the files of one processor are told from the other's.
ensure_base_for() {
  local name=base
  [ "$1" = "$own_arch" ] || name=$1-base
  [ -e "$home/$name-$base_hash.complete" ] && buildah inspect "$2" >/dev/null 2>&1 && return
  say "building $2 from Debian 13 and Node $NODE_VERSION (once)"
  build_base "$1" "$2"
  rm -f "$home/$name"-*.complete
  touch "$home/$name-$base_hash.complete"
}
# ensure_base ARCH: for images of that processor, built on this one.
ensure_base() {
  ensure_base_for "$own_arch" "$BASE"
  [ "$1" != "$own_arch" ] || return 0
  ensure_base_for "$1" "$BOTH_BASES-$1"
  buildah manifest rm "$BOTH_BASES" >/dev/null 2>&1 || true
  buildah manifest create "$BOTH_BASES" >/dev/null
  for image in "$BASE" "$BOTH_BASES-$1"; do buildah manifest add "$BOTH_BASES" "containers-storage:$image" >/dev/null; done
}

own=''
version=$tag revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "$layout" ]; then
  case "$own_arch" in amd64) other=arm64 ;; *) other=amd64 ;; esac
  [ -n "$given_base" ] || ensure_base "$other"
  for name in "$@"; do
    began=$SECONDS
    say "building $name for amd64 and arm64"
    add_to_layout "$name"
    say "$name is built for amd64 and arm64 ($((SECONDS - began)) s)"
    echo "$name $registry/pushcluster/$name:$version"
  done
  exit
fi
if is_foreign; then tag=$tag-$arch own=$arch-; fi
[ "$source" = . ] || own=source-$own
for name in "$@"; do
  began=$SECONDS
  case "$name" in
    base)
      ensure_base "$arch"
      echo "base $BASE"
      continue ;;
    nats | pause | coredns | metrics-server)
      ! is_foreign || die "the image of $name is made for this machine's processor only"
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
      hash=$({ echo "$base_hash $reference"; declare -f bud build_product; [ "$source" = . ] || content "$source"; cat Dockerfile .dockerignore; content package.json package-lock.json scripts/{strip.ts,system-files.sh} protocol runtime gateway logic operator client charts/pushcluster/{dashboards,rules} */package.json \
        -not -path '*/node_modules/*' -not -path '*/dist/*' -not -name '*.test.ts' -not -name '*.tmp.ts'; } | hash_of)
      make=(build_product "$name" "$reference") ;;
    *) die "there is no image \"$name\"" ;;
  esac
  file=$own$name-$hash.tar
  if [ ! -e "$home/$file" ]; then
    case "$name" in operator | node-tuning | gateway | logic) ensure_base "$arch" ;; esac
    say "building $reference"
    "${make[@]}"
    finished "$name" "$own$name" "$hash"
    say "$reference is built ($((SECONDS - began)) s, $(du -m "$home/$file" | cut -f 1) MB as an archive)"
  fi
  echo "$name $home/$file"
done
