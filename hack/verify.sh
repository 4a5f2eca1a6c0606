#!/usr/bin/env bash
# SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks that what is generated, formatted and pinned is current. It compares by content, in a copy
# of the checkout, so uncommitted work neither disturbs it nor is touched by it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
fail() {
	echo "verify: $*" >&2
	failed=1
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# Tracked and new files, without those that are deleted but not yet committed as such.
git ls-files -coz --exclude-standard | while read -rd '' file; do
	if [[ -e $file ]]; then printf '%s\0' "$file"; fi
done >"$copy/files"
for tree in before after; do
	mkdir "$copy/$tree"
	tar -c --null -T "$copy/files" | tar -x -C "$copy/$tree"
done

echo "verify: generated files"
# Removed first, so that a file that nothing generates any more is noticed too.
find "$copy/after/api" -name 'zz_generated.*' -delete
rm -rf "$copy"/after/api/*/applyconfiguration "$copy"/after/config/crd/bases "$copy"/after/config/rbac/role.yaml \
	"$copy"/after/docs/reference.md "$copy"/after/config/chart/templates/*.yaml "$copy"/after/bundle
if make -C "$copy/after" generate TOOLS="$TOOLS"; then
	(cd "$copy" && diff -ruN before after) || fail "generated files are not current: run 'make generate'"
else
	fail "'make generate' failed"
fi

echo "verify: formatting"
unformatted=$(grep -z '\.go$' "$copy/files" | xargs -0r gofmt -s -l)
[[ -z $unformatted ]] || fail "not formatted, run 'make fmt':"$'\n'"$unformatted"

echo "verify: modules"
hack/modules.sh go mod tidy -diff || fail "modules are not tidy: run 'make tidy'"

# Its command line and its library refuse to work together when they differ.
version() { GOWORK=off GOFLAGS= go -C "$1" list -m -f '{{.Version}}' github.com/onsi/ginkgo/v2; }
library=$(version .)
tool=$(version hack/tools/ginkgo)
[[ $library == "$tool" ]] || fail "ginkgo is $library in go.mod and $tool in hack/tools/ginkgo/go.mod: make them equal"

exit "$failed"
