#!/usr/bin/env bash
# install.sh [FOLDER]: installs the dependencies of this checkout, or those of a folder that has a package-lock.json of its own, unless
# they are already what package-lock.json says. Needs npm in the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/.build
cd "${1:-.}"

stamp=node_modules/.installed
wanted="$(cksum <package-lock.json) $PWD"
installed() { [ -e "$stamp" ] && [ "$(<"$stamp")" = "$wanted" ]; }

installed && exit 0
mkdir -p "$build"
exec 9>"$build/install.lock"
flock 9
installed && exit 0

# A new checkout gets exactly the lock file. Later changes are added to what is there, below running processes.
how=(ci)
[ -d node_modules ] && how=(install --no-save --no-package-lock=false)
echo "pushcluster: installing dependencies (npm ${how[0]})" >&2
# swagger-ui-dist depends on a package that reports each installation to its makers unless told not to.
SCARF_ANALYTICS=false npm "${how[@]}" --no-audit --no-fund --prefer-offline --loglevel=error >&2
echo "$wanted" >"$stamp"
