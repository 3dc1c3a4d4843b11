"""FastMCP's client with its own callback server: `BROWSER="person.py %s &" python fastmcp_client.py URL`."""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.auth import OAuth


async def main(url):
    oauth = OAuth(callback_timeout=30)
    async with Client(url, auth=oauth) as client:
        tools = await client.list_tools()
        assert "whoami" in [tool.name for tool in tools]

        async def whoami():
            assert "ada" in str(await client.call_tool("whoami", {}))

        await whoami()
        before = oauth.context.current_tokens.refresh_token
        oauth.context.token_expiry_time = 1  # long ago: refreshed before the next request
        await whoami()
        assert oauth.context.current_tokens.refresh_token != before, "the refresh token was rotated"
        await whoami()
    print(f"{len(tools)} tools, whoami, refresh, whoami")


asyncio.run(main(sys.argv[1]))
