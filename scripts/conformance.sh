#!/bin/sh
# Run the WebSocket conformance suite (autobahntestsuite of PyPI, which needs Python 2.7) against the relay's protocol as
# a server, and against the endpoints' as a client.
# Usage: PY=<python of .venv> [PYTHON27=<interpreter>] [CASES='"1.*", "7.*"'] conformance.sh
set -eu
folder=.make/conformance
cases=${CASES:-'"*"'}

find_python27() {
  for candidate in "${PYTHON27:-}" python2.7 "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo 'sideband: the conformance suite needs Python 2.7. Name one: make conformance PYTHON27=/path/to/python2.7' >&2
  return 1
}

python27=$(find_python27)
if [ ! -e "$folder/installed" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  "$python27" -m pip install --disable-pip-version-check --quiet --target "$folder/site" autobahntestsuite==0.8.2
  # A namespace package, which is none outside of site-packages; with this it is an ordinary one.
  touch "$folder/site/zope/__init__.py"
  touch "$folder/installed"
fi

# The server ends when its input does, which is when this script's end of the pipe is closed.
rm -f "$folder/input" "$folder/port"
mkfifo "$folder/input"
"$PY" scripts/conformance_server.py <"$folder/input" >"$folder/port" &
server=$!
exec 3>"$folder/input"
while [ ! -s "$folder/port" ]; do
  kill -0 "$server"
  sleep 0.1
done

cat >"$folder/client.json" <<END
{"outdir": "$folder/reports", "cases": [$cases], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
 "servers": [{"agent": "sideband", "url": "ws://127.0.0.1:$(cat "$folder/port")/"}]}
END
PYTHONPATH="$folder/site" "$python27" -m autobahntestsuite.wstest -m fuzzingclient -s "$folder/client.json" >"$folder/log"
exec 3>&-
wait "$server"
echo 'The relay as a server:'
"$PY" scripts/conformance_verdict.py "$folder/reports/index.json"

port=$("$PY" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/server.json" <<END
{"outdir": "$folder/client-reports", "cases": [$cases], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
 "url": "ws://127.0.0.1:$port"}
END
rm -rf "$folder/client-reports"
PYTHONPATH="$folder/site" "$python27" -m autobahntestsuite.wstest -m fuzzingserver -s "$folder/server.json" -w 0 \
  >"$folder/server-log" 2>&1 &
suite=$!
trap 'kill "$suite"' EXIT
"$PY" scripts/conformance_client.py "$port"
echo 'The endpoints as a client:'
"$PY" scripts/conformance_verdict.py "$folder/client-reports/index.json"
