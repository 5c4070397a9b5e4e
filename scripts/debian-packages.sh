#!/usr/bin/env bash
# Checks for the Debian packages that the tests need beside npm's packages. Root installs the missing ones; other users
# get the command that installs them. With the argument "cluster", also checks the packages for a Kubernetes cluster and
# its images.
set -euo pipefail

missing=()
# need PACKAGE COMMAND...: PACKAGE is missing if the command fails.
need() { local package=$1; shift; "$@" >/dev/null 2>&1 || missing+=("$package"); }
has() { command -v "$1"; }

# The tests of the console run in a real browser.
need chromium has chromium
# A WebSocket client of another project. It needs Debian's Python, which may not be the first in the PATH.
need python3-websockets /usr/bin/python3 -c 'import websockets'
# Creates certificates for the TLS tests.
need openssl has openssl
# Compiles the bench's client.
need gcc has cc
need libc6-dev test -e /usr/include/stdio.h
# Runs the queries of dashboards and alerts; the package includes promtool.
need prometheus has prometheus
# Runs the health check for Argo CD.
need lua5.1 has lua5.1
# Creates network namespaces, in which node tuning is tested with a real kernel.
need iproute2 has ip
# Builds nats-server, the Kubernetes programs, and a WebSocket client of another project.
need golang-go has go

if [ "${1:-}" = cluster ]; then
  # The network of nodes and pods.
  need nftables has nft
  need containernetworking-plugins test -x /usr/lib/cni/ptp
  # Containers and their images.
  need runc has runc
  need buildah has buildah
  need debootstrap has debootstrap
  # On other processors, images for arm64 run in an emulator.
  [ "$(uname -m)" = aarch64 ] || need qemu-user has qemu-aarch64
fi

[ "${#missing[@]}" -gt 0 ] || exit 0
line="apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "the tests need these Debian packages, or what they contain: ${missing[*]}"
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "the tests need Debian packages that are not installed; this installs them:"
  echo "  sudo $line"
  exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >&2
$line -qq -o Dpkg::Use-Pty=0 >&2
# Only the program is needed, not a server on port 9090.
if [[ " ${missing[*]} " == *" prometheus "* ]] && [ -d /run/systemd/system ]; then
  systemctl disable --now prometheus >&2
fi
