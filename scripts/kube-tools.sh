#!/usr/bin/env bash
# Prints the folder of the Kubernetes programs that the tests run. They are built once with Go under ~/.cache/pushcluster.
#   kube-tools.sh control-plane   etcd, kube-apiserver, kube-controller-manager, kubectl, helm (what `make test` needs)
#   kube-tools.sh cluster         those, kubelet, kube-proxy, kube-scheduler, containerd, CoreDNS, metrics-server
set -euo pipefail
cd "$(dirname "$0")/.."

KUBE_VERSION=1.36.3
CONTAINERD_VERSION=2.3.7
HELM_VERSION=4.3.1
# Kubernetes names the Go that it needs; Go 1.21 and newer fetch that one by themselves.
need_go=1.21

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

sources=test/harness/kube/tools
case "${1:-}" in
  control-plane) wanted=(kube helm) ;;
  cluster) wanted=(kube helm containerd coredns metrics-server pause) ;;
  *) die "usage: scripts/kube-tools.sh control-plane|cluster" ;;
esac

# Everything that decides what is built: this file's versions and flags, and the sources beside the tests.
content=$(cat scripts/kube-tools.sh "$sources"/*/go.mod "$sources"/*/go.sum "$sources"/kube/*.go "$sources"/addons/*/*.go "$sources"/pause/*.c | sha256sum)
home="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster/kube-$KUBE_VERSION-${content:0:12}"
bin="$home/bin"

missing=()
for part in "${wanted[@]}"; do [ -e "$home/$part.complete" ] || missing+=("$part"); done
if [ "${#missing[@]}" -eq 0 ]; then echo "$bin"; exit 0; fi

command -v go >/dev/null || die "Go is needed to build Kubernetes $KUBE_VERSION for the tests: install Go $need_go or newer"
have_go=$(go env GOVERSION)
[ "$(printf '%s\n%s\n' "$need_go" "${have_go#go}" | sort -V | head -n 1)" = "$need_go" ] \
  || die "$have_go is too old to build Kubernetes $KUBE_VERSION: install Go $need_go or newer"

mkdir -p "$bin"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building the Kubernetes tools in $home: waiting for it"; flock 9; }
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
work=$(mktemp -d "$home/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# progress NAME: shows how far the compiler is, and all else that Go says.
progress() {
  awk -v name="$1" '
    /^[a-z0-9.-]+(\/[^ ]+)?$/ { if (++n % 200 == 0) printf "pushcluster:   %s: %d packages compiled\n", name, n; next }
    /^go: downloading / { next }
    { print }' >&2
}

# compile NAME FOLDER PACKAGE LDFLAGS: one of our own programs.
compile() {
  (cd "$2" && go build -v -ldflags "-s -w $4" -o "$work/$1" "$3") 2>&1 | progress "$1" || die "Go could not build $1"
  mv -f "$work/$1" "$bin/$1"
}

# release PACKAGE VERSION LDFLAGS [TAGS]: a program as its project released it.
release() {
  local name=${1##*/}
  GOBIN="$work" go install -v -tags "${4:-}" -ldflags "-s -w $3" "$1@v$2" 2>&1 | progress "$name" || die "Go could not build $1 $2"
  mv -f "$work/$name" "$bin/$name"
}

build_kube() {
  local version=k8s.io/component-base/version minor=${KUBE_VERSION#*.} name
  # A node registers only with a version that it can tell.
  compile kube "$sources/kube" . "-X $version.gitVersion=v$KUBE_VERSION -X $version.gitMajor=${KUBE_VERSION%%.*} -X $version.gitMinor=${minor%%.*}"
  for name in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do ln -sf kube "$bin/$name"; done
}

build_containerd() {
  local path=github.com/containerd/containerd/v2 name
  for name in containerd containerd-shim-runc-v2 ctr; do
    release "$path/cmd/$name" "$CONTAINERD_VERSION" "-X $path/version.Version=v$CONTAINERD_VERSION" no_btrfs,no_zfs,no_devmapper
  done
}

build_coredns() { compile coredns "$sources/addons" ./coredns ""; }

build_metrics-server() { compile metrics-server "$sources/addons" ./metrics-server ""; }

build_pause() {
  cc -O2 -static -o "$work/pause" "$sources/pause/pause.c" || die "the C compiler could not build pause: install gcc and libc6-dev"
  mv -f "$work/pause" "$bin/pause"
}

build_helm() { release helm.sh/helm/v4/cmd/helm "$HELM_VERSION" "-X helm.sh/helm/v4/internal/version.version=v$HELM_VERSION"; }

say "building ${missing[*]} (Kubernetes $KUBE_VERSION) in $home (once; it takes minutes)"
for part in "${wanted[@]}"; do
  [ -e "$home/$part.complete" ] && continue
  say "building $part"
  began=$SECONDS
  "build_$part"
  touch "$home/$part.complete"
  say "$part is built ($((SECONDS - began)) s)"
done
echo "$bin"
