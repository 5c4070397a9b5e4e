#!/usr/bin/env bash
# Checks that what the tests need beside npm's packages is there. What is missing is installed as root; otherwise the one
# line that does it is printed. With the word "cluster": also what a Kubernetes of our own and its images need.
set -euo pipefail

missing=()
# need PACKAGE COMMAND...: PACKAGE is missing where the command fails.
need() { local package=$1; shift; "$@" >/dev/null 2>&1 || missing+=("$package"); }
has() { command -v "$1"; }

# The console is tested in a real browser.
need chromium has chromium
# A client that nobody here wrote; Debian's own Python, whatever else is first in the PATH.
need python3-websockets /usr/bin/python3 -c 'import websockets'
# Certificates of the TLS tests.
need openssl has openssl
# The bench's client.
need gcc has cc
need libc6-dev test -e /usr/include/stdio.h
# Queries of the dashboards and alerts; promtool comes with it.
need prometheus has prometheus
# Network namespaces, in which node tuning meets a real kernel.
need iproute2 has ip
# nats-server, Kubernetes, and another client that nobody here wrote.
need golang-go has go

if [ "${1:-}" = cluster ]; then
  # The network of nodes and pods.
  need nftables has nft
  need containernetworking-plugins test -x /usr/lib/cni/ptp
  # Containers and their images.
  need runc has runc
  need buildah has buildah
  need debootstrap has debootstrap
  # Images for arm64 are tried where that is another processor.
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
# The program is what is wanted, not a server that takes port 9090.
if [[ " ${missing[*]} " == *" prometheus "* ]] && [ -d /run/systemd/system ]; then
  systemctl disable --now prometheus >&2
fi
