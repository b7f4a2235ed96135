#!/bin/sh
# Run the tests that need real servers: install what is missing, start a throwaway PostgreSQL under its own user,
# run `pytest -m servers`, and stop everything again whatever happened. As root on Debian or Ubuntu.
# Usage: SIDEBAND_PYTHON=<interpreter> test-servers.sh [pytest arguments]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

stop() {
  printf 'sideband: %s\n' "$1" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || stop "test-servers installs packages and makes network namespaces, so it runs as root."
command -v apt-get >/dev/null 2>&1 || stop "test-servers knows Debian's packages only; there is no apt-get here."

packages=""
need() { # need <command or file> <package>
  command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || packages="$packages $2"
}
need runuser util-linux
need ip iproute2
need nft nftables
# The page about installing a server begins on a machine that has these.
for package in adduser curl openssl python3 python3-venv systemd; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    packages="$packages $package"
done
need node nodejs
need nats-server nats-server
need nginx nginx-light
need turnserver coturn
if [ -z "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]; then
  packages="$packages postgresql"
fi
if [ -n "$packages" ]; then
  echo "sideband: installing$packages"
  export DEBIAN_FRONTEND=noninteractive
  # The package would otherwise start a cluster of its own, on a port that may be in use.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  apt-get update -qq
  # shellcheck disable=SC2086  # a list of words
  apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

postgres_bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
folder=$(mktemp -d /tmp/sideband-servers.XXXXXX)
running=""

clean_up() {
  code=$?
  trap - EXIT INT TERM HUP
  if [ -n "$running" ]; then
    runuser -u postgres -- "$postgres_bin/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1 || true
  fi
  rm -rf "$folder"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

password=$("$SIDEBAND_PYTHON" -c 'import secrets; print(secrets.token_hex(16))')
port=$("$SIDEBAND_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s' "$password" >"$folder/password"
chown -R postgres "$folder"
chmod 700 "$folder"
cd /
runuser -u postgres -- "$postgres_bin/initdb" -D "$folder/data" --username=sideband --pwfile="$folder/password" \
  --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$folder/initdb.log" || { cat "$folder/initdb.log"; exit 1; }
running=yes
# Nothing here outlives the tests, so nothing needs to survive a power cut.
runuser -u postgres -- "$postgres_bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 60 -o \
  "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder -c fsync=off -c max_connections=200" \
  start >/dev/null || { cat "$folder/server.log"; exit 1; }
runuser -u postgres -- env PGPASSWORD="$password" "$postgres_bin/createdb" -h 127.0.0.1 -p "$port" -U sideband sideband
export SIDEBAND_TEST_POSTGRES_URL="postgresql://sideband:$password@127.0.0.1:$port/sideband"
export SIDEBAND_TEST_POSTGRES_BIN="$postgres_bin"

cd "$root"
"$SIDEBAND_PYTHON" -m pytest -m servers --timeout 600 "$@"
