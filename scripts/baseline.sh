#!/usr/bin/env bash
# baseline.sh COMMIT: writes test/fixtures/baseline.tar.gz, the earlier version that the current one is tested together
# with. Run it at each release. The archive is part of the repository, so that a shallow clone can run the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse --verify "${1:?the commit of the last release}^{commit}")
fixture=test/fixtures/baseline.tar.gz
git archive --format=tar "$commit" -- . test/package.json \
  ':(exclude)**/*.test.ts' ':(exclude)docs' ':(exclude)test/[!p]*' ':(exclude).ci' ':(exclude)*.png' | gzip -9n >"$fixture"
echo "$fixture: $(wc -c <"$fixture") bytes of $commit"
