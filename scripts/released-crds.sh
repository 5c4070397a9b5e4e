#!/usr/bin/env bash
# Prints the folder with the released CRDs of another project. They come from its Go module, in Go's module cache.
#   released-crds.sh keda|prometheus-operator|gateway-api
set -euo pipefail

die() { printf 'pushcluster: %s\n' "$*" >&2; exit 1; }

case "${1:-}" in
  keda) module=github.com/kedacore/keda/v2@v2.21.0 crds=config/crd/bases ;;
  prometheus-operator) module=github.com/prometheus-operator/prometheus-operator@v0.85.0 crds=example/prometheus-operator-crd ;;
  gateway-api) module=sigs.k8s.io/gateway-api@v1.4.1 crds=config/crd/standard ;;
  *) die "usage: scripts/released-crds.sh keda|prometheus-operator|gateway-api" ;;
esac
command -v go >/dev/null || die "Go is needed to fetch $module for the tests: install golang"
# Outside of any Go module, so that no go.mod applies.
cd /
folder=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
[ -d "$folder/$crds" ] || die "$module could not be fetched"
echo "$folder/$crds"
