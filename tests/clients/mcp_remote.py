"""mcp-remote as Claude Desktop and others start it, over stdio: `python mcp_remote.py URL`, with `mcp-remote` in PATH.

Started twice: the first time it registers, opens the browser and keeps tokens on disk; the second time it finds an access
token there that the gateway does not take, and must come back with a refresh alone.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import threading


def session(url, folder):
    """One run: returns the answers of tools/list and of two calls of whoami, and whether the browser was needed."""
    asked = []
    process = subprocess.Popen(
        ["mcp-remote", url],
        env=os.environ | {"MCP_REMOTE_CONFIG_DIR": folder},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )

    def watch():
        for line in process.stderr:
            found = re.search(r"http\S+/authorize\?\S+", line)
            if found and not asked:
                asked.append(subprocess.Popen([os.environ["PERSON"], found[0]]))

    threading.Thread(target=watch, daemon=True).start()
    threading.Timer(40, process.kill).start()

    def call(number, method, **params):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        while number is not None:
            answer = json.loads(process.stdout.readline() or sys.exit("mcp-remote has ended"))
            if answer.get("id") == number:
                return answer["result"]

    call(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "try", "version": "0"})
    call(None, "notifications/initialized")
    answers = call(2, "tools/list"), call(3, "tools/call", name="whoami", arguments={})
    answers += (call(4, "tools/call", name="whoami", arguments={}),)
    process.terminate()
    process.wait(10)
    return *answers, bool(asked)


def main(url):
    with tempfile.TemporaryDirectory() as folder:
        tools, *people, asked = session(url, folder)
        assert asked and all("ada" in json.dumps(person) for person in people), people
        (path,) = glob.glob(f"{folder}/**/*_tokens.json", recursive=True)
        with open(path) as file:
            tokens = json.load(file)
        with open(path, "w") as file:
            json.dump(tokens | {"access_token": "expired", "expires_at": 1}, file)
        _, *people, asked = session(url, folder)
        assert not asked and all("ada" in json.dumps(person) for person in people), people
        with open(path) as file:
            assert json.load(file)["refresh_token"] != tokens["refresh_token"], "the refresh token was rotated"

        # The gateway has forgotten everything, as a sandbox does that was started anew.
        with open(path, "w") as file:
            json.dump(tokens | {"access_token": "expired", "refresh_token": "expired", "expires_at": 1}, file)
        (path,) = glob.glob(f"{folder}/**/*_client_info.json", recursive=True)
        with open(path) as file:
            client = json.load(file)
        with open(path, "w") as file:
            json.dump(client | {"client_id": client["client_id"][:-8] + "AAAAAAAA"}, file)
        _, *people, asked = session(url, folder)
        assert asked and all("ada" in json.dumps(person) for person in people), people
    print(f"{len(tools['tools'])} tools, whoami, refresh, whoami; registered again when forgotten")
    os._exit(0)  # not waiting for the timers


main(sys.argv[1])
