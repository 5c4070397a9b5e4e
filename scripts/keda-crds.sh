#!/usr/bin/env bash
# Prints the folder of KEDA's CRDs as its project released them: those of the Go module, which is kept where Go keeps modules.
set -euo pipefail

KEDA_VERSION=2.21.0

die() { printf 'pushcluster: %s\n' "$*" >&2; exit 1; }

command -v go >/dev/null || die "Go is needed to fetch KEDA $KEDA_VERSION for the tests: install golang"
# Outside of any module: nothing of this project's is asked for.
cd /
folder=$(go mod download -json "github.com/kedacore/keda/v2@v$KEDA_VERSION" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
[ -d "$folder/config/crd/bases" ] || die "KEDA $KEDA_VERSION could not be fetched"
echo "$folder/config/crd/bases"
