"""The request shapes of clients that cannot be started from a script, sent as they send them: `python shapes.py URL`.

For each: the registration body, the parameters of the authorization request, the token request, MCP calls, a refresh and
another call. Besides: the requests of a page in a browser (preflights), and five parallel refreshes with one token.
"""

import base64
import concurrent.futures
import hashlib
import json
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request

from person import Person

BOTH = ["authorization_code", "refresh_token"]
# name: (registration body, redirect URI as it is used, authorization parameters, sends `resource`)
SHAPES = {
    "VS Code": (
        {
            "client_name": "Visual Studio Code",
            "client_uri": "https://code.visualstudio.com",
            "grant_types": [*BOTH, "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"],
            "redirect_uris": [
                "https://insiders.vscode.dev/redirect",
                "https://vscode.dev/redirect",
                "http://127.0.0.1/",
                "http://127.0.0.1:33418/",
            ],
            "scope": "profile:read repositories:read",
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        },
        "http://127.0.0.1:50123/",  # a port that was not registered
        {"scope": "profile:read repositories:read", "prompt": "consent"},
        True,
    ),
    "VS Code, web": (
        {
            "client_name": "Visual Studio Code",
            "grant_types": [*BOTH, "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"],
            "redirect_uris": ["https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
            "token_endpoint_auth_method": "none",
        },
        "https://vscode.dev/redirect",
        {"state": "vscode://dynamicauthprovider/example/redirect?nonce=a%2Bb%3D%3D&windowId=1"},
        True,
    ),
    "Cursor": (
        {
            "client_name": "Cursor",
            "client_uri": "https://cursor.com",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": [
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
            ],
            "token_endpoint_auth_method": "none",
        },
        "cursor://anysphere.cursor-mcp/oauth/callback",
        {"scope": "profile:read repositories:read", "prompt": "consent"},
        True,
    ),
    "Claude": (
        {
            "client_name": "Claude",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
            "token_endpoint_auth_method": "client_secret_post",
            "scope": "profile:read repositories:read offline_access",
        },
        "https://claude.ai/api/mcp/auth_callback",
        {"scope": "profile:read repositories:read offline_access", "prompt": "consent"},
        True,
    ),
    "Claude Code": (
        {
            "client_name": "Claude Code (deputy)",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": ["http://localhost:54321/callback"],
            "token_endpoint_auth_method": "none",
        },
        "http://localhost:54321/callback",
        {},
        False,
    ),
    "ChatGPT": (
        {
            "client_name": "ChatGPT",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
            "token_endpoint_auth_method": "none",
            "contacts": [],
            "logo_uri": None,
        },
        "https://chatgpt.com/connector_platform_oauth_redirect",
        {"scope": "profile:read repositories:read", "state": "oauth_s_" + "0" * 200},
        True,
    ),
    "Perplexity": (
        {
            "client_name": "Perplexity",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": ["https://www.perplexity.ai/rest/connections/oauth_callback"],
            "token_endpoint_auth_method": "client_secret_basic",
        },
        "https://www.perplexity.ai/rest/connections/oauth_callback",
        {"scope": "offline_access"},
        True,
    ),
    "MCP Inspector, page": (
        {
            "client_name": "MCP Inspector",
            "client_uri": "https://github.com/modelcontextprotocol/inspector",
            "grant_types": BOTH,
            "response_types": ["code"],
            "redirect_uris": ["http://localhost:6274/oauth/callback"],
            "token_endpoint_auth_method": "none",
            "scope": "",
        },
        "http://localhost:6274/oauth/callback",
        {"state": None, "prompt": "consent"},
        True,
    ),
    "2025-03-26": (
        {"client_name": "old", "redirect_uris": ["http://localhost:1234/cb"]},
        "http://localhost:1234/cb",
        {},
        False,
    ),
}


def send(method, url, body=None, **headers):
    """Returns status, headers and text. Redirects are not followed."""
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()}, method=method)
    try:
        answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read().decode()


def form(fields):
    return urllib.parse.urlencode(fields).encode()


class Client:
    """A client that speaks by hand; `page` is its origin where it lives in a browser."""

    def __init__(self, url, shape, page=None):
        self.url, (body, self.redirect, self.parameters, self.has_resource) = url, shape
        self.headers = {"Origin": page} if page else {}
        self.page = page
        status, headers, _ = self.send("GET", url, Accept="text/event-stream")
        assert status == 401, status
        self.readable(headers)
        metadata = headers["WWW-Authenticate"].partition('resource_metadata="')[2].partition('"')[0]
        self.resource = self.get(metadata)
        assert self.resource["resource"] == url
        root = "/.well-known/oauth-authorization-server"
        self.server = self.get(self.resource["authorization_servers"][0] + root)
        self.client = self.post_json(self.server["registration_endpoint"], body)
        assert set(self.client["redirect_uris"]) >= set(body["redirect_uris"])

    def send(self, method, url, body=None, **headers):
        if self.page:
            self.preflight(method, url, [*headers, "MCP-Protocol-Version"])
        return send(method, url, body, **headers, **self.headers)

    def preflight(self, method, url, names):
        asked = ", ".join(name.replace("_", "-").lower() for name in names)
        answer = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": asked}
        status, headers, _ = send("OPTIONS", url, **answer, **self.headers)
        assert status in (200, 204), (url, status)
        assert headers["Access-Control-Allow-Origin"] in ("*", self.page), (url, headers)
        assert method in headers["Access-Control-Allow-Methods"], (url, headers)
        allowed = headers["Access-Control-Allow-Headers"].lower()
        missing = [name for name in asked.split(", ") if name not in allowed]
        assert not missing, (url, missing)

    def readable(self, headers):
        if self.page:
            assert headers["Access-Control-Allow-Origin"] in ("*", self.page), str(headers)
            assert "www-authenticate" in headers["Access-Control-Expose-Headers"].lower()

    def get(self, url):
        status, headers, text = self.send("GET", url, Accept="application/json", MCP_Protocol_Version="2025-06-18")
        assert status == 200, (url, status)
        self.readable(headers)
        return json.loads(text)

    def post_json(self, url, body):
        status, headers, text = self.send("POST", url, json.dumps(body).encode(), Content_Type="application/json")
        assert status == 201, (status, text)
        self.readable(headers)
        return json.loads(text)

    def authorize(self):
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "redirect_uri": self.redirect,
            "state": secrets.token_urlsafe(16),
        } | self.parameters
        if self.has_resource:
            asked["resource"] = self.url
        asked = {name: value for name, value in asked.items() if value is not None}
        landed = Person().walk(f"{self.server['authorization_endpoint']}?{urllib.parse.urlencode(asked)}")
        answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(landed).query))
        assert answer.get("state") == asked.get("state"), answer.keys()
        assert answer["iss"] == self.server["issuer"]
        self.take(grant_type="authorization_code", code=answer["code"], redirect_uri=self.redirect, code_verifier=verifier)

    def token(self, **fields):
        headers = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        method = self.client["token_endpoint_auth_method"]
        if method == "client_secret_basic":
            pair = ":".join(urllib.parse.quote(self.client[name], "") for name in ("client_id", "client_secret"))
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            fields["client_id"] = self.client["client_id"]
        if method == "client_secret_post":
            fields["client_secret"] = self.client["client_secret"]
        if self.has_resource:
            fields["resource"] = self.url
        status, answer_headers, text = self.send("POST", self.server["token_endpoint"], form(fields), **headers)
        self.readable(answer_headers)
        assert status == 200, (status, text)
        return json.loads(text)

    def take(self, **fields):
        self.tokens = self.token(**fields)

    def refresh(self):
        return self.token(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])

    def mcp(self, access_token, method, session=None, number=1, **params):
        headers = {
            "Authorization": f"Bearer {access_token}",
            "Content_Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if session:
            headers |= {"Mcp_Session_Id": session, "MCP_Protocol_Version": "2025-06-18"}
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        status, headers, text = self.send("POST", self.url, json.dumps(message).encode(), **headers)
        self.readable(headers)
        assert status in (200, 202), (method, status, text)
        if headers.get_content_type() == "text/event-stream":
            lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:") and "{" in line]
            text = lines[-1]
        return headers, json.loads(text) if text else None

    def whoami(self, access_token=None):
        """Initializes, lists the tools, and returns how many there are; ada must be who we are."""
        token = access_token or self.tokens["access_token"]
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "try", "version": "0"}}
        headers, _ = self.mcp(token, "initialize", **client)
        session = headers["Mcp-Session-Id"]
        self.mcp(token, "notifications/initialized", session, None)
        _, tools = self.mcp(token, "tools/list", session, 2)
        _, person = self.mcp(token, "tools/call", session, 3, name="whoami", arguments={})
        assert "ada" in json.dumps(person), person
        return len(tools["result"]["tools"])


def whole(url, name):
    client = Client(url, SHAPES[name], "http://localhost:6274" if name.endswith("page") else None)
    client.authorize()
    tools = client.whoami()
    before = client.tokens
    client.tokens = client.refresh()
    assert client.tokens["refresh_token"] != before["refresh_token"]
    client.whoami()
    return f"{tools} tools, whoami, refresh, whoami"


def five_at_once(url):
    client = Client(url, SHAPES["Claude Code"])
    client.authorize()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: client.refresh(), range(5)))
        list(pool.map(lambda answer: client.whoami(answer["access_token"]), answers))
    # Whichever answer a client kept, it leads on.
    for client.tokens in answers:
        client.whoami(client.refresh()["access_token"])
    different = len({answer["refresh_token"] for answer in answers})
    return f"five answers, each works; {different} refresh token(s) among them"


def main(url):
    failed = 0
    tries = {name: (lambda name=name: whole(url, name)) for name in SHAPES}
    tries["five parallel refreshes"] = lambda: five_at_once(url)
    for name, attempt in tries.items():
        try:
            print(f"{name}: {attempt()}")
        except (AssertionError, SystemExit, KeyError) as error:
            failed += 1
            print(f"{name}: FAILED: {error!r}")
    print(f"{len(tries) - failed} of {len(tries)}: {', '.join(tries)}")
    sys.exit(1 if failed else 0)


main(sys.argv[1])
