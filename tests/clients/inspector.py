"""MCP Inspector 2.x, its command line: `python inspector.py URL`, with `mcp-inspector` in PATH (Node 22).

Each call is a process of its own that shares tokens on disk with the others.
"""

import json
import os
import re
import subprocess
import sys
import tempfile


def call(url, home, *arguments):
    """Returns the answer and whether the browser was needed."""
    environment = os.environ | {
        "HOME": home, "MCP_INSPECTOR_SECRET_STORE": "file", "MCP_AUTO_OPEN_ENABLED": "true", "BROWSER": "none",
    }
    process = subprocess.Popen(
        ["mcp-inspector", "--cli", url, "--format", "json", *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    asked, said = False, ""
    for line in process.stderr:
        said += line
        found = re.search(r"http\S+/authorize\?\S+", line)
        if found and not asked:
            asked = subprocess.Popen([os.environ["PERSON"], found[0]]) is not None
    text = process.stdout.read()
    assert process.wait(30) == 0, said
    return json.loads(text)["result"], asked


def main(url):
    with tempfile.TemporaryDirectory() as home:
        tools, asked = call(url, home, "--method", "tools/list")
        assert asked
        whoami = ("--method", "tools/call", "--tool-name", "whoami")
        for era in "legacy", "modern":
            person, asked = call(url, home, *whoami, "--protocol-era", era)
            assert not asked and "ada" in json.dumps(person), person

        path = f"{home}/.mcp-inspector/secrets.json"
        with open(path) as file:
            kept = json.load(file)
        (name,) = (name for name in kept["secrets"] if ":tokens:" in name)
        tokens = json.loads(kept["secrets"][name])
        kept["secrets"][name] = json.dumps(tokens | {"access_token": "expired"})
        with open(path, "w") as file:
            json.dump(kept, file)
        for _ in range(2):
            person, asked = call(url, home, *whoami)
            assert not asked and "ada" in json.dumps(person), person
        with open(path) as file:
            now = json.loads(json.load(file)["secrets"][name])
        assert now["refresh_token"] != tokens["refresh_token"], "the refresh token was rotated"
    print(f"{len(tools['tools'])} tools, whoami, refresh, whoami")


main(sys.argv[1])
