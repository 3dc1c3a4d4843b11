// A person with a real Chromium, through chromedriver: opens an authorization URL and approves on our page.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';
// Approve appears 700 ms after the pointer is on the page.
const BEFORE_APPROVE = 1200;
const ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server'];

export const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const chromium = () => {
  const folders = process.env.PATH.split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
};

export async function startBrowser() {
  const port = await freePort();
  const profile = mkdtempSync(join(tmpdir(), 'mcp-deputy-conformance-'));
  const driver = spawn('chromedriver', [`--port=${port}`], { stdio: 'ignore' });
  let broken;
  driver.on('error', () => (broken = 'chromedriver cannot be started (Debian: apt-get install chromium-driver)'));

  const call = async (method, path, body) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`chromedriver: ${value.message}`);
    return value;
  };
  const ready = async () => {
    for (let tries = 0; tries < 200 && !broken; tries += 1) {
      try {
        return await call('GET', '/status');
      } catch {
        await new Promise((done) => setTimeout(done, 50));
      }
    }
    throw new Error(broken ?? 'chromedriver does not answer');
  };

  const close = async (session) => {
    if (session) await call('DELETE', session).catch(() => {});
    driver.kill();
    // Chromium may write its last files a moment longer.
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  };

  try {
    await ready();
    const options = { binary: chromium(), args: [...ARGUMENTS, `--user-data-dir=${profile}`] };
    const capabilities = { alwaysMatch: { browserName: 'chrome', 'goog:chromeOptions': options } };
    const session = `/session/${(await call('POST', '/session', { capabilities })).sessionId}`;
    return {
      // Ends where the client's callback has been opened.
      async approve(url, callback) {
        await call('POST', `${session}/url`, { url });
        const using = { using: 'css selector', value: 'button[value=approve]' };
        const button = await call('POST', `${session}/element`, using);
        const move = { type: 'pointerMove', duration: 50, origin: { [ELEMENT]: button[ELEMENT] }, x: 0, y: 0 };
        const actions = [
          move,
          { type: 'pause', duration: BEFORE_APPROVE },
          { type: 'pointerDown', button: 0 },
          { type: 'pointerUp', button: 0 },
        ];
        const mouse = { type: 'pointer', id: 'mouse', parameters: { pointerType: 'mouse' }, actions };
        await call('POST', `${session}/actions`, { actions: [mouse] });
        for (let tries = 0; tries < 200; tries += 1) {
          if ((await call('GET', `${session}/url`)).startsWith(callback)) return;
          await new Promise((done) => setTimeout(done, 50));
        }
        throw new Error(`the browser is stuck at ${new URL(await call('GET', `${session}/url`)).pathname}`);
      },
      close: () => close(session),
    };
  } catch (error) {
    await close();
    throw error;
  }
}
