#!/usr/bin/env python3
"""The person with the browser: opens an authorization URL, approves, signs in as Ada, and lands at the client.

    person.py URL            walks to the client's callback and opens it (as BROWSER="person.py %s &" does)
    person.py URL --print    walks to the client's callback and prints its URL instead

A browser without script: it keeps cookies by host, follows redirects and meta refreshes, presses buttons of forms, and
sends Origin, Referer and Sec-Fetch-* as Chromium does. It keeps no cookie from one start to the next.
"""

import http.cookiejar
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

# What is pressed where it is offered: our consent page, the third party's login, the third party's consent page.
PRESSED = {("decision", "approve"), ("login", "ada"), ("decision", "authorize")}


class Page(HTMLParser):
    """The one form and the meta refresh of a page."""

    def __init__(self, text):
        super().__init__()
        self.refresh, self.action, self.hidden, self.buttons = None, None, {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            self.refresh = attributes["content"].partition("url=")[2]
        elif tag == "form":
            self.action = attributes["action"]
        elif tag == "input" and attributes.get("type") == "hidden":
            self.hidden[attributes["name"]] = attributes["value"]
        elif tag == "button":
            self.buttons.append((attributes.get("name"), attributes.get("value")))


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Person:
    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        handlers = NoRedirect(), urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({})
        self.opener = urllib.request.build_opener(*handlers)
        self.seen = []

    def fetch(self, url, form=None, origin=None):
        """Returns status, Location and text."""
        headers = {
            "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-User": "?1",
            "Sec-Fetch-Site": "same-origin" if origin else "none",
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
        }
        if origin:
            headers |= {"Origin": origin, "Referer": f"{origin}/"}
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(url, data, headers)
        try:
            answer = self.opener.open(request, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers.get("Location"), answer.read().decode()

    def walk(self, url):
        """From the authorization URL to the callback: returns the callback's URL with what it carries, not opened."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        end = query["redirect_uri"][0]
        form = origin = None
        for _ in range(20):
            status, location, text = self.fetch(url, form, origin)
            self.seen.append(f"{status} {'GET' if form is None else 'POST'} {url.partition('?')[0]}")
            page = Page(text)
            onward = location or page.refresh
            if onward:
                url, form, origin = urllib.parse.urljoin(url, onward), None, None
                if url.startswith(end):
                    return url
                continue
            button = next((button for button in page.buttons if button in PRESSED), None)
            if page.action is None or button is None:
                break
            parts = urllib.parse.urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc}"
            url, form = urllib.parse.urljoin(url, page.action), page.hidden | dict([button])
        raise SystemExit("the person is stuck:\n  " + "\n  ".join(self.seen) + f"\n{text[-1500:]}")


def main():
    person = Person()
    callback = person.walk(sys.argv[1])
    if "--print" in sys.argv[2:]:
        print(callback)
        return
    for _ in range(50):
        try:
            status, _, _ = person.fetch(callback)
            break
        except urllib.error.URLError:  # the client opens the browser first and listens afterwards
            time.sleep(0.1)
    else:
        raise SystemExit("nobody listens at the client's callback")
    if status >= 400:
        raise SystemExit(f"the client's callback answered {status}")


if __name__ == "__main__":
    main()
