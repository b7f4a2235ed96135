// The control plane's API, by docs/protocol/relay.md alone.

export async function call(procedure, credential, input) {
  const response = await fetch(`${process.env.SIDEBAND_API_URL}/api/trpc/${procedure}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${credential}`, "Content-Type": "application/json" },
    body: JSON.stringify({ json: input }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${procedure}: ${answer.error.data.code} ${answer.error.message}`);
  return answer.result.data;
}

/** The session id of a client's relay token. */
export function sessionIdOf(token) {
  const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  return Buffer.from(claims.sid, "base64url").readBigUInt64BE();
}

/** Tell the test one thing, as a line of JSON. */
export function tell(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
