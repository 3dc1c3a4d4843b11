// The official TypeScript SDK: `node typescript.mjs 1|2 URL`. Version 1 is @modelcontextprotocol/sdk, version 2 is
// @modelcontextprotocol/client; both have the same shape of OAuth provider.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

const [version, url] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport, UnauthorizedError } =
  version === "1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
        ...(await import("@modelcontextprotocol/sdk/client/auth.js")),
      }
    : await import("@modelcontextprotocol/client");

let went; // the authorization URL that the SDK wants to open
const kept = {};
const provider = {
  redirectUrl: "http://127.0.0.1:9/callback", // nobody listens: the person hands the URL over
  clientMetadata: {
    client_name: `TypeScript SDK ${version}`,
    redirect_uris: ["http://127.0.0.1:9/callback"],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: process.argv[4] ?? "none",
  },
  state: () => crypto.randomUUID(),
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  redirectToAuthorization: (to) => void (went = to),
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
  saveDiscoveryState: (found) => void (kept.found = found),
  discoveryState: () => kept.found,
  invalidateCredentials(what) {
    if (what === "all" || what === "client") delete kept.client;
    if (what === "all" || what === "tokens") delete kept.tokens;
  },
};

const begin = () => ({
  client: new Client({ name: "try", version: "0" }),
  transport: new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }),
});
const whoami = async (client) => {
  const result = await client.callTool({ name: "whoami", arguments: {} });
  assert.match(JSON.stringify(result), /ada/, "whoami is ada");
};

async function signIn() {
  const { client, transport } = begin();
  await assert.rejects(client.connect(transport), UnauthorizedError);
  const landed = new URL(execFileSync(process.env.PERSON, [went.href, "--print"], { encoding: "utf8" }).trim());
  assert.equal(landed.searchParams.get("state"), went.searchParams.get("state"));
  // Version 2 checks `iss` and wants the whole answer.
  await transport.finishAuth(version === "1" ? landed.searchParams.get("code") : landed.searchParams);
  const signedIn = begin();
  await signedIn.client.connect(signedIn.transport);
  return signedIn;
}

let { client, transport } = await signIn();
const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === "whoami"));
await whoami(client);

// A token that the gateway does not take: 401, and the SDK refreshes by itself.
const before = { ...kept.tokens };
kept.tokens = { ...kept.tokens, access_token: "expired" };
went = undefined;
await whoami(client);
assert.equal(went, undefined, "no new authorization was needed");
assert.notEqual(kept.tokens.refresh_token, before.refresh_token, "the refresh token was rotated");
await whoami(client);
await transport.terminateSession();
await client.close();

// The gateway has forgotten the client, as a sandbox does that was started anew: the SDK registers again by itself.
const forgotten = kept.client.client_id.replace(/.{8}$/, "AAAAAAAA");
kept.client = { ...kept.client, client_id: forgotten };
kept.tokens = { ...kept.tokens, access_token: "expired", refresh_token: "expired" };
({ client } = await signIn());
assert.notEqual(kept.client.client_id, forgotten);
await whoami(client);
await client.close();
console.log(`${tools.length} tools, whoami, refresh, whoami; registered again when forgotten`);
