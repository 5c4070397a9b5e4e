#!/usr/bin/env bash
# baseline.sh COMMIT: makes test/fixtures/baseline.tar.gz, the version that today's is tested beside. Move it at each release.
# It is a file of the repository, so that a shallow clone or a source archive can run the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse --verify "${1:?the commit of the last release}^{commit}")
fixture=test/fixtures/baseline.tar.gz
git archive --format=tar "$commit" -- . test/package.json \
  ':(exclude)**/*.test.ts' ':(exclude)docs' ':(exclude)test/[!p]*' ':(exclude).ci' ':(exclude)*.png' | gzip -9n >"$fixture"
echo "$fixture: $(wc -c <"$fixture") bytes of $commit"
