// Runs the official conformance suite: its `authorization` scenarios against the gateway, and its `server` scenarios
// against one MCP server directly and through the gateway, in both eras. Started by `run`, which says what it needs:
//
//   node conformance.mjs PATH-TO-MCP-DEPUTY FOLDER-FOR-RESULTS
//
// Exits 1 on: a check of `authorization` that is not a success, warnings and skipped ones included; a required scenario
// that the MCP server itself fails; a check that is worse through the gateway than directly.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { parse } from 'yaml';

import { start as startBackend } from './backend.mjs';
import { start as startBearer } from './bearer.mjs';
import { freePort, startBrowser } from './browser.mjs';
import { start as startThirdParty } from './third_party.mjs';

const ERAS = ['2025-11-25', '2026-07-28'];
// The client that the operator wrote into the configuration.
const CLIENT = 'conformance-suite';
const PATIENCE = 120_000;
const [program, folder] = process.argv.slice(2);
// What is undone at the end, the last one first.
const undo = [];
const failures = [];

async function main() {
  const third = await startThirdParty(note);
  const backend = await startBackend();
  undo.push(third.close, backend.close);
  const callback = await freePort();
  const gateway = await startGateway(third.url, backend.url, callback);
  const browser = await startBrowser();
  undo.push(browser.close);

  for (const era of ERAS) await authorization(gateway, CLIENT, callback, browser, era);
  const token = await tokenOf(gateway, CLIENT, callback, browser);
  note(token);
  const bearer = await startBearer(`${gateway}/mcp`, () => token);
  undo.push(bearer.close);
  for (const era of ERAS) {
    const direct = await serverChecks(backend.url, era, 'direct');
    const through = await serverChecks(bearer.url, era, 'through');
    compare(era, direct, through);
  }
}

// --- the gateway ----------------------------------------------------------------------------------------------------

async function startGateway(third, upstream, callback) {
  const [port, admin] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const secret = randomBytes(24).toString('hex');
  note(secret);
  const configuration = `
public_url = "${url}"
listen = "127.0.0.1:${port}"
admin_listen = "127.0.0.1:${admin}"
[store]
url = "memory:"
[provider.third]
title = "The third party"
client_id = "gateway"
client_secret = "${secret}"
authorization_endpoint = "${third}/authorize"
token_endpoint = "${third}/token"
userinfo_endpoint = "${third}/user"
default_scopes = ["profile"]
[[mcp_server]]
path = "/mcp"
name = "Conformance"
upstream_url = "${upstream}"
provider = "third"
[[client]]
client_id = "${CLIENT}"
name = "Conformance suite"
redirect_uris = ["http://127.0.0.1:${callback}/callback"]
[registration]
dynamic = "off"
`;
  writeFileSync(join(folder, 'proxy.toml'), configuration, { mode: 0o600 });
  const log = openSync(logFile(), 'w');
  const environment = { ...process.env, MCP_DEPUTY_LOG: 'trace' };
  const gateway = spawn(program, ['serve', '--config', join(folder, 'proxy.toml')], {
    stdio: ['ignore', log, log],
    env: environment,
  });
  closeSync(log);
  const ended = new Promise((done) => gateway.on('exit', done));
  undo.push(() => (gateway.kill(), ended));
  for (let tries = 0; tries < 200 && gateway.exitCode === null; tries += 1) {
    const answer = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => null);
    if (answer?.ok) return url;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`the gateway does not start: ${readFileSync(logFile(), 'utf8').slice(-2000)}`);
}

// A token for the `server` scenarios, as any client gets one.
async function tokenOf(gateway, client, callback, browser) {
  const redirect_uri = `http://127.0.0.1:${callback}/callback`;
  const verifier = randomBytes(32).toString('base64url');
  const request = new URL(`${gateway}/authorize`);
  request.search = new URLSearchParams({
    response_type: 'code',
    client_id: client,
    redirect_uri,
    state: 'x',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: `${gateway}/mcp`,
  });
  let arrived;
  const code = new Promise((done) => (arrived = done));
  const waiting = createServer((asked, answer) => {
    arrived(new URL(asked.url, redirect_uri).searchParams.get('code'));
    answer.end('done');
  });
  await new Promise((done) => waiting.listen(callback, '127.0.0.1', done));
  try {
    await browser.approve(request.href, redirect_uri);
    const form = { grant_type: 'authorization_code', client_id: client, code: await code, code_verifier: verifier };
    const answer = await fetch(`${gateway}/token`, { method: 'POST', body: new URLSearchParams(form) });
    const tokens = await answer.json();
    if (!tokens.access_token) throw new Error(`no token: ${tokens.error}`);
    note(tokens.refresh_token);
    return tokens.access_token;
  } finally {
    waiting.closeAllConnections();
    waiting.close();
  }
}

// --- the suite ------------------------------------------------------------------------------------------------------

async function authorization(gateway, client, callback, browser, era) {
  const results = join(folder, `authorization-${era}`);
  const approving = [];
  const what = ['authorization', '--url', gateway, '--resource', `${gateway}/mcp`, '--client-id', client];
  await suite([...what, '--port', String(callback), '--spec-version', era, '-o', results], (line) => {
    const asked = line.match(/http\S+\/authorize\?\S+/);
    if (asked) approving.push(browser.approve(asked[0], `http://127.0.0.1:${callback}/callback`));
  });
  await Promise.all(approving);
  const scenarios = checksIn(results);
  for (const name of ['authorization-server-metadata-endpoint', 'authorization-code-grant']) {
    if (!scenarios.has(name)) fail(`authorization, ${era}: the scenario ${name} did not run`);
  }
  for (const [scenario, checks] of scenarios) {
    const bad = checks.filter(({ status }) => status !== 'SUCCESS');
    line(`authorization ${era}  ${scenario}`, `${checks.length - bad.length} of ${checks.length}`);
    for (const { id, status, errorMessage } of bad) {
      fail(`authorization, ${era}: ${id} is ${status}: ${errorMessage ?? ''}`);
    }
  }
}

async function serverChecks(url, era, way) {
  const results = join(folder, `server-${era}-${way}`);
  await suite(['server', '--url', url, '--spec-version', era, '--suite', 'all', '-o', results]);
  return checksIn(results);
}

// Its output goes to a file; its exit status says less than its checks.
function suite(what, onLine = () => {}) {
  const name = `${what[what.indexOf('-o') + 1]}.txt`;
  const told = [];
  const running = spawn('conformance', what, { stdio: ['ignore', 'pipe', 'pipe'] });
  undo.push(() => running.kill());
  const limit = setTimeout(() => running.kill(), PATIENCE);
  let rest = '';
  running.stdout.setEncoding('utf8').on('data', (text) => {
    told.push(text);
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    lines.forEach(onLine);
  });
  running.stderr.setEncoding('utf8').on('data', (text) => told.push(text));
  return new Promise((done, broken) => {
    running.on('error', broken);
    running.on('close', (status) => {
      clearTimeout(limit);
      writeFileSync(name, told.join(''));
      if (status === null) fail(`${name}: did not end within ${PATIENCE / 1000} s`);
      done();
    });
  });
}

// Checks by scenario: the suite names folders server-SCENARIO-TIME and authorization-server-SCENARIO-TIME.
function checksIn(results) {
  const scenarios = new Map();
  for (const entry of readdirSync(results)) {
    const name = entry.replace(/^(authorization-)?server-/, '').replace(/-\d{4}-\d\d-\d\dT[\dTZ:.-]+$/, '');
    scenarios.set(name, JSON.parse(readFileSync(join(results, entry, 'checks.json'), 'utf8')));
  }
  return scenarios;
}

// --- direct and through the gateway ---------------------------------------------------------------------------------

const BAD = ['FAILURE', 'WARNING', 'SKIPPED'];

function compare(era, direct, through) {
  const required = requiredIn(era);
  for (const scenario of required) {
    if (!direct.has(scenario)) fail(`server, ${era}: the suite has no scenario ${scenario} that it requires`);
  }
  let [checked, lost] = [0, 0];
  for (const [scenario, checks] of direct) {
    const ours = through.get(scenario) ?? [];
    const losses = lossesOf(checks, ours);
    const passed = (all) => all.filter(({ status }) => status === 'SUCCESS').length;
    const bad = checks.filter(({ status }) => BAD.includes(status));
    line(`server ${era}  ${scenario}`, `${passed(checks)} direct, ${passed(ours)} through the gateway`);
    checked += passed(checks);
    lost += losses.length;
    for (const loss of losses) fail(`server, ${era}, ${scenario}: ${loss}`);
    if (bad.length && required.has(scenario)) {
      fail(`server, ${era}, ${scenario}: the MCP server itself does not pass ${bad.map(({ id }) => id).join(', ')}`);
    }
  }
  line(`server ${era}  all ${direct.size} scenarios`, `${checked} checks pass directly, ${lost} of them lost`);
}

// A check may be emitted many times: what counts is how often it succeeds and how often it does not.
function lossesOf(direct, through) {
  const count = (checks) => {
    const all = new Map();
    for (const { id, name, status } of checks) {
      const key = `${id} (${name})`;
      const one = all.get(key) ?? { good: 0, bad: 0 };
      if (status === 'SUCCESS') one.good += 1;
      if (BAD.includes(status)) one.bad += 1;
      all.set(key, one);
    }
    return all;
  };
  const [before, after] = [count(direct), count(through)];
  const losses = [];
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const one = before.get(key) ?? { good: 0, bad: 0 };
    const other = after.get(key) ?? { good: 0, bad: 0 };
    if (other.good < one.good || other.bad > one.bad) {
      const told = through.find((check) => `${check.id} (${check.name})` === key && check.errorMessage);
      losses.push(`${key}: ${one.good} good and ${one.bad} bad became ${other.good} and ${other.bad}. ${told?.errorMessage ?? ''}`);
    }
  }
  return losses;
}

function requiredIn(era) {
  const file = `node_modules/@modelcontextprotocol/conformance/requirements/${era}.yaml`;
  return new Set(parse(readFileSync(new URL(file, import.meta.url), 'utf8')).server);
}

// --- telling --------------------------------------------------------------------------------------------------------

function line(what, result) {
  console.log(`${what.padEnd(76)} ${result}`);
}

function fail(why) {
  failures.push(why);
}

// The gateway's log and the secrets in it go where `tests/leaks.rs` looks.
function logFile() {
  return join(process.env.MCP_DEPUTY_TEST_DIR ?? folder, 'test-logs', 'conformance.log');
}

function note(secret) {
  const file = join(process.env.MCP_DEPUTY_TEST_DIR ?? folder, 'test-secrets', 'conformance.txt');
  writeFileSync(file, `${secret}\n`, { flag: 'a' });
}

function prepare() {
  for (const name of readdirSync(folder)) {
    if (/^(authorization|server)-/.test(name)) rmSync(join(folder, name), { recursive: true });
  }
  for (const kind of ['test-logs', 'test-secrets']) {
    mkdirSync(join(process.env.MCP_DEPUTY_TEST_DIR ?? folder, kind), { recursive: true });
  }
}

prepare();
try {
  await main();
} catch (error) {
  fail(error.message);
} finally {
  for (const one of undo.reverse()) await one();
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
process.exit(failures.length ? 1 : 0);
