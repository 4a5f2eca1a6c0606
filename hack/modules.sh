#!/usr/bin/env bash
# SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command in every Go module of the repository, the failing ones named at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Each module stands alone, whatever the surroundings say.
export GOWORK=off GOFLAGS=

modules=$(git ls-files -co --exclude-standard -- go.mod '**/go.mod' | sort -u)

failed=()
while read -r mod; do
	(cd "$(dirname "$mod")" && "$@") </dev/null || failed+=("$(dirname "$mod")")
done <<<"$modules"

if ((${#failed[@]})); then
	echo "'$*' failed in: ${failed[*]}" >&2
	exit 1
fi
