"""The authorization scenarios of the official conformance suite: `python conformance.py URL`, with `conformance` in PATH.

It is given a public client: it authenticates with `none` wherever a server lists that, even when it holds a secret.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request


def main(url):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    issuer = urllib.parse.urljoin(url, "/").rstrip("/")
    body = {"redirect_uris": [f"http://127.0.0.1:{port}/callback"], "token_endpoint_auth_method": "none"}
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{issuer}/register", json.dumps(body).encode(), headers)) as answer:
        client = json.load(answer)
    command = ["conformance", "authorization", "--url", issuer, "--resource", url]
    command += ["--client-id", client["client_id"], "--port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    limit = threading.Timer(60, process.kill)
    limit.start()
    asked, said = False, ""
    for line in process.stdout:
        said += line
        found = re.search(r"http\S+/authorize\?\S+", line)
        if found and not asked:
            asked = subprocess.Popen([os.environ["PERSON"], found[0]]) is not None
    limit.cancel()
    assert process.wait() == 0, said
    print(re.search(r"Total: .*", said)[0])


main(sys.argv[1])
