// The third party, as small as one can be: it knows one person, approves at once, and checks nothing that the gateway's
// own tests check. The gateway is a static client there.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

// `note` is told every code and token.
export async function start(note) {
  const secret = () => {
    const made = randomBytes(16).toString('hex');
    note(made);
    return made;
  };
  const json = (response, value) =>
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(value));
  const http = createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    request.resume();
    if (url.pathname === '/authorize') {
      const back = new URL(url.searchParams.get('redirect_uri'));
      back.searchParams.set('code', secret());
      back.searchParams.set('state', url.searchParams.get('state'));
      return response.writeHead(303, { location: back.href }).end();
    }
    if (url.pathname === '/token') {
      return json(response, { access_token: secret(), token_type: 'Bearer', scope: 'profile' });
    }
    if (url.pathname === '/user') return json(response, { sub: '1', preferred_username: 'ada', name: 'Ada' });
    return response.writeHead(404).end();
  });
  // On a host of its own: cookies ignore ports.
  await new Promise((done) => http.listen(0, 'localhost', done));
  const close = () => (http.closeAllConnections(), http.close());
  return { url: `http://localhost:${http.address().port}`, close };
}
