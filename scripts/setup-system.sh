#!/bin/sh
# System packages that the tests use: a browser for the report's tests, a PostgreSQL server for the ledger's, the OpenMP library
# LightGBM needs, a Chinese font.
# Installs only what is missing, only as root on a system with apt; otherwise says what is missing and goes on
# (the tests that need it skip themselves, or fail where it was promised).
#   scripts/setup-system.sh --promised   installs nothing, prints what tests may count on here, for BAKEOFF_TEST_REQUIRE
set -u

can_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; }

if [ "${1:-}" = --promised ]; then
    promised=
    [ "$(uname)" = Linux ] && promised=hadolint # comes with the packages for development
    if can_install; then
        promised="$promised,browser,postgres"
        unshare --mount --pid --fork --net true 2>/dev/null && promised="$promised,image"
    fi
    echo "${promised#,}"
    exit 0
fi

wanted=
{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1 || wanted="$wanted chromium"
command -v chromedriver >/dev/null 2>&1 || wanted="$wanted chromium-driver"
{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || wanted="$wanted postgresql"
if [ "$(uname)" = Linux ]; then
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q 'libgomp\.so\.1' || wanted="$wanted libgomp1"
fi
if command -v fc-list >/dev/null 2>&1; then
    [ -n "$(fc-list :lang=zh 2>/dev/null | head -n 1)" ] || wanted="$wanted fonts-wqy-zenhei"
else
    wanted="$wanted fontconfig fonts-wqy-zenhei"
fi

[ -z "$wanted" ] && exit 0
if ! can_install; then
    echo "not installed, tests that need it are skipped:$wanted"
    exit 0
fi
echo "installing:$wanted"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 - one word per package
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $wanted >/dev/null; } ||
    echo "could not install, tests that need it fail:$wanted"
exit 0
