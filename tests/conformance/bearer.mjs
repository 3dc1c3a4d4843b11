// For the tests only: the suite's server scenarios send no token, so this adds one on the way to the gateway. Everything
// else passes as it came, in both directions; where the suite names this helper in Host or Origin, the gateway's own name
// stands instead. A foreign Host or Origin stays what it is: the gateway has to judge it.

import { createServer, request as connect } from 'node:http';

export async function start(gateway, token) {
  const { host: theirs, hostname, port } = new URL(gateway);
  let ours;
  const rename = (name, value) => {
    if (name === 'host' && value === ours) return theirs;
    if (name === 'origin' && value === `http://${ours}`) return `http://${theirs}`;
    return value;
  };
  const http = createServer((incoming, answer) => {
    const headers = ['authorization', `Bearer ${token()}`];
    for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
      const [name, value] = incoming.rawHeaders.slice(at, at + 2);
      headers.push(name, rename(name.toLowerCase(), value));
    }
    const { method, url: path } = incoming;
    const outgoing = connect({ hostname, port, method, path, headers, setHost: false }, (answered) => {
      answer.writeHead(answered.statusCode, answered.rawHeaders);
      answer.flushHeaders();
      answered.pipe(answer);
      answered.on('close', () => answered.complete || answer.destroy());
    });
    outgoing.on('error', () => answer.destroy());
    answer.on('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  ours = `127.0.0.1:${http.address().port}`;
  const close = () => (http.closeAllConnections(), http.close());
  return { url: `http://${ours}${new URL(gateway).pathname}`, close };
}
