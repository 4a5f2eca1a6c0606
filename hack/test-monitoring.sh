#!/usr/bin/env bash
# SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks the alerts of config/components/prometheus, and tries each by the tests in test/monitoring/testdata. promtool
# reads files of rules; a PrometheusRule has the same under spec, which is its last key.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp test/monitoring/testdata/*.yaml "$work"
sed -e '1,/^spec:$/d' -e 's/^  //' config/components/prometheus/rules.yaml >"$work/rules.yaml"
"$PROMTOOL" check rules --lint=all --lint-fatal "$work/rules.yaml"
"$PROMTOOL" test rules "$work"/*_test.yaml
