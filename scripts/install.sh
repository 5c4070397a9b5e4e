#!/usr/bin/env bash
# install.sh [FOLDER]: installs the dependencies of this checkout, or of a folder with a package-lock.json of its own,
# if they differ from package-lock.json. Needs npm in the PATH.
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

# A new checkout gets exactly the versions of the lock file. Later changes are installed into the existing folder,
# because running processes use it.
how=(ci)
[ -d node_modules ] && how=(install --no-save --no-package-lock=false)
echo "pushcluster: installing dependencies (npm ${how[0]})" >&2
# A dependency of swagger-ui-dist reports installations to its vendor unless this is set.
SCARF_ANALYTICS=false npm "${how[@]}" --no-audit --no-fund --prefer-offline --loglevel=error >&2
echo "$wanted" >"$stamp"
