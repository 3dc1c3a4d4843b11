"""The official Python SDK, 1.x and 2.x: `python python_sdk.py URL`."""

import asyncio
import os
import sys
import urllib.parse
from contextlib import AsyncExitStack

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientMetadata

try:  # 2.x
    from mcp.client.auth import AuthorizationCodeResult
except ImportError:  # 1.x
    AuthorizationCodeResult = None

CALLBACK = "http://localhost:9/callback"  # nobody listens: the person hands the URL over


class Kept:
    tokens = client = None
    asked = 0

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url):
    kept, went = Kept(), {}

    async def redirect(to):
        kept.asked += 1
        person = await asyncio.create_subprocess_exec(os.environ["PERSON"], to, "--print", stdout=-1)
        went["landed"] = (await person.communicate())[0].decode().strip()

    async def callback():
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(went["landed"]).query))
        if AuthorizationCodeResult is None:
            return query["code"], query["state"]
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query["iss"])

    metadata = OAuthClientMetadata(client_name="Python SDK", redirect_uris=[CALLBACK])
    provider = OAuthClientProvider(url, metadata, kept, redirect, callback)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(create_mcp_http_client(auth=provider))
        streams = await stack.enter_async_context(streamable_http_client(url, http_client=http))
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        await session.initialize()
        tools = (await session.list_tools()).tools
        assert "whoami" in [tool.name for tool in tools]

        async def whoami():
            assert "ada" in str(await session.call_tool("whoami", {}))

        await whoami()
        before = kept.tokens.refresh_token
        provider.context.token_expiry_time = 1  # long ago: the SDK refreshes before its next request
        await whoami()
        assert kept.tokens.refresh_token != before, "the refresh token was rotated"
        assert kept.asked == 1, "no new authorization was needed"
        await whoami()
    print(f"{len(tools)} tools, whoami, refresh, whoami")


asyncio.run(main(sys.argv[1]))
